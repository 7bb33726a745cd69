"""Every configuration composes, and what is out of range is refused in one line that helps."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.plugins.completion_plugin import CompletionPlugin
from support import ROOT

from dipddpm import names
from dipddpm.config import compose as config
from dipddpm.config.ranges import check_halvings
from dipddpm.config.schema import CHOICES, AddedNoise, MaskOperator, is_partial
from dipddpm.degradation.noise import NOISES
from dipddpm.degradation.operators import OPERATORS
from dipddpm.diffusion.inits import INITS
from dipddpm.dip import networks
from dipddpm.dip.stopping import RULES
from dipddpm.errors import UserError

GROUPS = {g.name: sorted(p.stem for p in g.glob("*.yaml")) for g in (ROOT / "conf").iterdir() if g.is_dir()}
FILES = [(g, c) for g, names in GROUPS.items() for c in names if g != "hydra"]


NEEDED = {  # beside a choice that is not enough by itself
    ("image", "file"): ["image.path=astronaut"],
    ("image", "noisy"): ["image.path=astronaut"],
    ("image", "folder"): ["image.path=faces"],
    ("noise", "own"): ["image=noisy", "image.path=astronaut"],
    ("noise", "none"): ["operator=mask"],
}


def composed(*overrides):
    config.register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", overrides=list(overrides))


def test_there_are_the_groups_of_the_design():
    assert set(GROUPS) == {"image", "noise", "operator", "dip", "stopping", "prior", "ddpm", "experiment", "hydra"}


@pytest.mark.parametrize(("group", "choice"), FILES)
def test_every_choice_composes(group, choice):
    if (group, choice) == ("experiment", "search"):
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs the extra `optuna`")
    left = config.plain(config.typed(composed(f"{group}={choice}", *NEEDED.get((group, choice), ()))))
    assert config.read_back(left) == left  # what config.yaml says of a run is what it was


@pytest.mark.parametrize("rule", GROUPS["stopping"])
def test_a_rule_that_is_typed_beside_an_experiment_is_that_of_the_run(rule):
    for experiment in set(GROUPS["experiment"]) - {"search"}:
        assert composed(f"experiment={experiment}", f"stopping={rule}").stopping.rule.name == rule, experiment


@pytest.mark.parametrize("operator", GROUPS["operator"])
@pytest.mark.parametrize("noise", [kind for kind in GROUPS["noise"] if kind != "own"])
def test_every_noise_goes_with_every_operator_and_each_choice_has_its_own_keys(noise, operator):
    if (noise, operator) == ("none", "identity"):
        with pytest.raises(
            UserError, match="noise=none with operator=identity leaves nothing to restore: type noise=gauss"
        ):
            config.typed(composed("noise=none"))
        return
    c = config.typed(composed(f"noise={noise}", f"operator={operator}"))
    assert (c.noise.kind.name, c.operator.kind.name) == (noise, operator)
    keys = {"none": {"kind"}, "correlated": {"kind", "sigma", "correlation"}}.get(noise, {"kind", "sigma"})
    assert set(config.plain(c)["noise"]) == keys
    blur = {"kernel", "width", "length", "angle", "border"}
    keys = {"mask": {"missing", "file"}, "downscale": {"factor", "method"}, "blur": blur,
            "blur_downscale": {"factor", *blur}, "sensing": {"share", "transform"}, "jpeg": {"quality", "chroma"},
            "clip": {"threshold"}}.get(operator, set())  # fmt: skip
    assert set(config.plain(c)["operator"]) == {"kind", *keys}
    assert is_partial(c) is (operator != "identity")


def test_the_choices_of_a_group_are_its_files():
    for group in ("noise", "operator"):
        assert sorted(CHOICES[group]) == GROUPS[group]
        for choice in GROUPS[group]:
            assert composed(f"{group}={choice}", *NEEDED.get((group, choice), ()))[group].kind == choice


@pytest.mark.parametrize(("overrides", "noise"), [
    ("", {"kind": "own", "sigma": None}),
    ("noise.sigma=25", {"kind": "own", "sigma": 25.0}),
    ("experiment=superres", {"kind": "none"}),
    ("experiment=superres noise=own noise.sigma=10", {"kind": "own", "sigma": 10.0}),
    ("experiment=inpaint operator.file=holes.png", {"kind": "none"}),
    ("operator=mask operator.file=holes.png noise.sigma=0", {"kind": "own", "sigma": 0.0}),
])  # fmt: skip
def test_of_a_noisy_picture_the_noise_is_what_is_known_of_its_own(overrides, noise):
    """Where nothing is said it is estimated; the experiments with an operator say that it has none."""
    c = config.typed(composed("image=noisy", "image.path=me.png", *overrides.split()))
    assert config.plain(c)["noise"] == noise


def test_an_experiment_with_missing_pixels_keeps_them_under_another_noise():
    c = config.typed(composed("experiment=inpaint", "noise=poisson", "noise.sigma=25"))
    assert isinstance(c.operator, MaskOperator) and isinstance(c.noise, AddedNoise)
    assert (c.operator.kind.name, c.operator.missing, c.noise.kind.name, c.noise.sigma) == ("mask", 0.5, "poisson", 25)


def test_a_shells_completion_offers_what_can_be_typed():
    config_of = composed()
    for key, value in (("ddpm.scheduler", "ddpm"), ("stopping.rule", "loss_floor"), ("dip.layers", "4")):
        assert CompletionPlugin._get_matches(config_of, f"{key}=") == [f"{key}={value}"]


def test_the_words_that_can_be_typed_are_those_of_the_registries():
    """A registry may get more, which are for Python alone. Operators register in the order of their modules."""
    registries = [(names.NETWORKS, networks.NETWORKS), (names.NOISES, NOISES), (names.OPERATORS, OPERATORS),
                  (names.INITS, INITS), (names.RULES, RULES)]  # fmt: skip
    for typed, registry in registries:
        assert set(typed) <= set(registry)


def test_an_experiment_changes_what_it_names_and_nothing_else():
    plain, experiment = composed(), composed("experiment=celebahq256")
    assert experiment.prior.repo == "google/ddpm-celebahq-256"
    assert (experiment.ddpm.start_t, experiment.ddpm.init.name) == (100, "raw")
    assert experiment.ddpm == composed("experiment=original").ddpm, "the same setting at another size"
    experiment.prior, experiment.ddpm.start_t, experiment.ddpm.init = plain.prior, plain.ddpm.start_t, plain.ddpm.init
    assert experiment == plain


@pytest.mark.parametrize(
    ("kernel_size", "size", "most"), [(3, 8, 2), (3, 64, 5), (3, 9, 3), (5, 64, 4), (7, 64, 4), (1, 64, 5)]
)
def test_a_skip_network_halves_as_often_as_it_can_be_evaluated(kernel_size, size, most):
    dip = config.typed(composed("dip=skip", f"dip.kernel_size={kernel_size}")).dip
    z = torch.rand(1, 3, size, size)
    for layers in range(1, 8):
        dip.layers = layers
        net = networks.Skip(layers=layers, channels=2, kernel_size=kernel_size, generator=torch.Generator())
        if layers <= most:
            check_halvings(dip, size)
            assert net(z).shape == z.shape
        else:
            with pytest.raises(UserError, match=f"at most {most} with dip=skip at {size}x{size}"):
                check_halvings(dip, size)
            with pytest.raises((ValueError, RuntimeError)):
                net(z)


def test_a_plain_network_is_never_too_deep_for_a_picture():
    dip = config.typed(composed("dip.layers=20")).dip
    check_halvings(dip, 8)


def test_defaults_are_the_originals_network():
    c = config.typed(composed())
    assert (c.dip.layers, c.dip.final_relu, c.dip.checkpoint_every, c.ddpm.start_t) == (4, True, 10, 25)


REFUSED = [
    ("+dip.lyers=3", "dip.lyers is not a key (did you mean dip.layers?); dip has: dip.network"),
    ("++ddpm.startt=3", "ddpm.startt is not a key (did you mean ddpm.start_t?)"),
    ("+qualty=3", "qualty is not a key; there are: image noise operator"),
    ("ddpm.start_t=0", "ddpm.start_t=0 is not allowed: auto or a noise level of 1 or more"),
    ("ddpm.start_t=true", "ddpm.start_t=true is not allowed"),
    ("ddpm.start_t=1.5", "ddpm.start_t=1.5 is not allowed"),
    ("ddpm.end_t=25", "ddpm.end_t=25 is not allowed: a noise level below ddpm.start_t=25, from 0 to 24"),
    ("ddpm.end_t=-1", "ddpm.end_t=-1 is not allowed"),
    ("ddpm.steps=26", "ddpm.steps=26 is not allowed: from 1 to 25"),
    ("ddpm.steps=0", "ddpm.steps=0 is not allowed"),
    ("ddpm.samples=0", "ddpm.samples=0 is not allowed"),
    ("ddpm.error_sigma=0", "ddpm.error_sigma=0.0 is not allowed"),
    ("ddpm.error_sigma=inf", "ddpm.error_sigma=inf is not allowed"),
    ("ddpm.samples=3 ddpm.scheduler=ddim", "ddpm.samples=3 would give the same picture 3 times: ddpm.scheduler=ddim"),
    ("ddpm.samples=3 ddpm.scheduler=dpmpp", "ddpm.samples=3 would give the same picture 3 times: ddpm.scheduler=dpmpp"),
    ("ddpm.prior_weight=0", "ddpm.prior_weight=0.0 is not allowed: above 0"),
    ("ddpm.consistency=dps ddpm.data_consistency=false", "ddpm.consistency=dps agrees with y, and ddpm.data_consis"
     "tency=false does not: leave one of them out"),
    ("ddpm.samples=3 ddpm.steps=1", "ddpm.samples=3 would give the same picture 3 times: one step to level 0"),
    ("ddpm.samples=3 ddpm.start_t=1", "draws no noise; type ddpm.samples=1, or ddpm.init=diffused"),
    ("checkpoint=oracle image=noisy image.path=a.png", "checkpoint=oracle needs a clean picture"),
    ("dip.kernel_size=4", "dip.kernel_size=4 is not allowed: an odd number, such as 3 or 5"),
    ("dip.layers=-1", "dip.layers=-1 is not allowed"),
    ("dip.layers=1001", "dip.layers=1001 is not allowed: at most 1000 hidden layers"),
    ("dip=skip dip.layers=0", "dip.layers=0 is not allowed: 1 or more halvings (dip=skip)"),
    ("dip=skip dip.kernel_size=2", "dip.kernel_size=2 is not allowed"),
    ("dip.network=skip", "dip.final_relu=true is not allowed: false for the skip network, which ends in a sigmoid; "
     "type dip=skip dip.final_relu=false"),
    ("dip.lr=0", "dip.lr=0.0 is not allowed: above 0"),
    ("dip.lr=inf", "dip.lr=inf is not allowed: above 0"),
    ("dip.input_noise=inf", "dip.input_noise=inf is not allowed"),
    ("stopping.threshold=inf", "stopping.threshold=inf is not allowed"),
    ("dip.max_epochs=0", "dip.max_epochs=0 is not allowed"),
    ("dip.ema=1", "dip.ema=1.0 is not allowed"),
    ("noise.sigma=0", "noise.sigma=0.0 is not allowed: above 0, to 255"),
    ("noise.sigma=nan", "noise.sigma=nan is not allowed"),
    ("noise.sigma=null", "noise.sigma"),
    ("prior.revision=main", "prior.revision=main is not allowed: null, because prior=faces64 has no prior.repo"),
    ("store=", "store= is not allowed: a folder for the fits"),
    ("stopping.patience=0", "stopping.patience=0 is not allowed"),
    ("image.size=7", "image.size=7 is not allowed"),
    ("image.size=2000000000", "image.size=2000000000 is not allowed: auto (the prior's size), or 8 to 8192 pixels"),
    ("image.size=big", "image.size=big is not allowed"),
    ("image.box=[1,2,3]", "image.box=[1, 2, 3] is not allowed: [left,top,right,bottom]"),
    ("image=file", "image.path has no value: type image.path=<value>"),
    ("checkpoint=15", "checkpoint=15 is not a kept epoch: every 10th epoch is kept (dip.checkpoint_every); "
     "type checkpoint=10 or 20"),
    ("dip.max_epochs=9", "dip.max_epochs=9 is not allowed: 10 or more"),
    ("threads=0", "threads=0 is not allowed"),
    ("device=gpu", "device=gpu is not allowed: auto, cpu, cuda or cuda:<number>"),
    ("device=cpu:0", "device=cpu:0 is not allowed"),
    ("+image.reference=clean.png", "image.reference is a key of image=noisy only: type image=noisy image.reference"),
    ("+noise.correlation=1", "noise.correlation is a key of noise=correlated only: type noise=correlated noise.corr"),
    ("experiment=inpaint +noise.sigma=25", "a key of noise=gaussian, poisson, impulse, random_impulse, correla"),
    ("+operator.factor=2", "operator.factor is a key of operator=downscale, blur_downscale only: type operator="),
    ("operator=mask noise.sigma=-1", "noise.sigma=-1.0 is not allowed: from 0 to 255"),
    ("noise=correlated noise.correlation=0", "noise.correlation=0.0 is not allowed: above 0 pixels"),
    ("noise=correlated noise.sigma=0 operator=mask", "noise.sigma=0.0 is not allowed: above 0, to 255 (0-255 scale)"),
    ("noise=poisson operator=mask noise.sigma=0", "noise.sigma=0.0 is not allowed: from 0.1 to 255 (0-255 scale) wit"),
    ("noise=impulse noise.sigma=128", "noise.sigma=128.0 is not allowed: from 0.1 to 127.5 (0-255 scale) with noise="),
    ("noise=random_impulse noise.sigma=74", "noise.sigma=74.0 is not allowed: from 0.1 to 73.6 (0-255 scale) with noi"),
    ("noise.sigma=much", "noise.sigma=much is not allowed: a number"),
    ("noise.kind=salt", "noise.kind=salt is not allowed: one of gaussian"),
    ("checkpoint=null", "checkpoint=null is not allowed"),
    ("checkpoint=none objective=[result.psnr,dip.psnr]", "objective=dip.psnr is not allowed: a figure of "
     "the result, such as result.psnr, because checkpoint=none fits no DIP"),
    ("operator=mask operator.missing=0", "operator.missing=0.0 is not allowed: a share of the pixels above 0 and bel"),
    ("operator=mask operator.missing=1", "operator.missing=1.0 is not allowed"),
    ("operator=mask operator.missing=null", "operator.missing=null is not allowed"),
    ("operator=mask operator.file=", "operator.file= is not allowed: the path of a mask, or null"),
    ("operator=downscale operator.factor=1", "operator.factor=1 is not allowed: 2 or more (times smaller)"),
    ("noise=own", "noise=own is for a picture that has noise: type image=noisy, or noise=gaussian"),
    ("image=noisy image.path=a noise=gaussian", "noise=gaussian adds noise to a clean picture, but image=noisy "
     "has noise already: type noise=own, or image=file"),
    ("image=noisy image.path=a noise=none", "leaves nothing to restore: type noise=own"),
    ("image=noisy image.path=a noise.sigma=0", "noise.sigma=0.0 is not allowed: above 0, to 255 (0-255 scale), or nu"),
    ("image=noisy image.path=a operator=mask", "operator=mask with image=noisy needs operator.file"),
    ("image=noisy image.path=a operator=mask operator.file=b", "operator=mask with image=noisy needs noise.sigma, "
     "which is estimated only from a whole picture: type noise.sigma=<0-255 scale>, or noise=none if the picture has"),
]  # fmt: skip


@pytest.mark.parametrize(("override", "message"), REFUSED, ids=[r[0] for r in REFUSED])
def test_refusals_say_what_was_given_and_what_is_allowed(override, message):
    with pytest.raises(UserError) as caught:
        config.typed(composed(*override.split()))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_configuration_of_aliases_of_aliases_is_refused_at_once():
    """Its text would have 10^30 words."""
    bomb: list = ["x"]
    for _ in range(30):
        bomb = [bomb] * 10
    stored = config.plain(config.typed(composed()))
    for group, key in (("image", "box"), ("dip", "layers"), ("ddpm", "start_t")):
        with pytest.raises(ValueError, match=f"{group}.{key} nests a list or keys"):
            config.read_back(stored | {group: stored[group] | {key: bomb}})
    with pytest.raises(ValueError, match="objective nests a list"):
        config.read_back(stored | {"objective": bomb})


@pytest.mark.parametrize("override", ["ddpm.start_t=1", "ddpm.start_t=1000", "ddpm.end_t=24", "ddpm.steps=25",
                                      "ddpm.samples=3 ddpm.steps=1 ddpm.end_t=1", "ddpm.samples=3 ddpm.start_t=2",
                                      "device=cuda:1", "dip.layers=0", "dip=skip dip.layers=1",
                                      "dip.kernel_size=1", "operator=mask operator.missing=0.99 noise=none",
                                      "operator=mask noise.sigma=0",
                                      "image=noisy image.path=a operator=mask operator.file=holes.png noise=none",
                                      "image.size=8", "checkpoint=20",
                                      "ddpm.start_t=auto", "ddpm.samples=3 ddpm.scheduler=ddim ddpm.init=diffused",
                                      "checkpoint=oracle image=noisy image.path=a image.reference=clean.png",
                                      "checkpoint=some/epochs/000010.safetensors"])  # fmt: skip
def test_the_last_allowed_value_is_allowed(override):
    config.typed(composed(*override.split()))
