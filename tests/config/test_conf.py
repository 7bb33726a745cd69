"""Every configuration composes, and what is out of range is refused in one line that helps."""

import itertools

import pytest
import torch
from hydra import compose, initialize_config_dir
from support import ROOT

from dipddpm.config import compose as config
from dipddpm.config import schema
from dipddpm.config.degrade_ranges import is_partial
from dipddpm.config.ranges import check_halvings
from dipddpm.dip import networks
from dipddpm.errors import UserError

GROUPS = {g.name: sorted(p.stem for p in g.glob("*.yaml")) for g in (ROOT / "conf").iterdir() if g.is_dir()}
CHOICES = [(g, c) for g, names in GROUPS.items() for c in names if g != "hydra"]


def composed(*overrides):
    config.register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", overrides=list(overrides))


def test_there_are_the_groups_of_the_design():
    assert set(GROUPS) == {"image", "degrade", "dip", "stopping", "prior", "ddpm", "experiment", "hydra"}


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_composes(group, choice):
    if (group, choice) == ("experiment", "search"):
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs the extra `optuna`")
    needs = ["image.path=astronaut"] if choice == "file" else []
    left = config.plain(config.typed(composed(f"{group}={choice}", *needs)))
    assert config.completed(left) == left  # what config.yaml says of a run is what it was


def test_every_pair_of_rule_and_degradation_composes():
    for rule, kind in itertools.product(GROUPS["stopping"], GROUPS["degrade"]):
        typed = config.typed(composed(f"stopping={rule}", f"degrade={kind}"))
        named = kind if kind in ("none", "poisson", "impulse") else "gaussian"
        assert (typed.stopping.rule.name, typed.degrade.kind.name) == (rule, named)
        assert (typed.degrade.correlation is not None) == (kind == "correlated")
        assert is_partial(typed.degrade) == (kind in ("mask", "downscale"))


def test_an_experiment_changes_what_it_names_and_nothing_else():
    plain, experiment = composed(), composed("experiment=celebahq256")
    assert experiment.prior.repo == "google/ddpm-celebahq-256"
    assert (experiment.ddpm.start_t, experiment.ddpm.init.name) == (100, "raw")
    experiment.prior, experiment.ddpm.start_t, experiment.ddpm.init = plain.prior, plain.ddpm.start_t, plain.ddpm.init
    assert experiment == plain


@pytest.mark.parametrize(("kernel_size", "size", "most"), [(3, 8, 2), (3, 64, 5), (3, 9, 3), (5, 64, 4), (7, 64, 4),
                                                             (1, 64, 5)])  # fmt: skip
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


def test_every_network_that_can_be_typed_can_be_built():
    assert {n.name for n in schema.Network} == set(networks.NETWORKS)


def test_a_plain_network_is_never_too_deep_for_a_picture():
    dip = config.typed(composed("dip.layers=20")).dip
    check_halvings(dip, 8)


def test_defaults_are_the_originals_network():
    c = config.typed(composed())
    assert (c.dip.layers, c.dip.final_relu, c.dip.checkpoint_every, c.ddpm.start_t) == (4, True, 10, 25)


REFUSED = [
    ("+dip.lyers=3", "dip.lyers is not a key (did you mean dip.layers?); dip has: dip.network"),
    ("++ddpm.startt=3", "ddpm.startt is not a key (did you mean ddpm.start_t?)"),
    ("+quality=3", "quality is not a key; there are: image degrade"),
    ("ddpm.start_t=0", "ddpm.start_t=0 is not allowed: auto or a level from 1 to 1000"),
    ("ddpm.start_t=1001", "ddpm.start_t=1001 is not allowed"),
    ("ddpm.start_t=true", "ddpm.start_t=True is not allowed"),
    ("ddpm.start_t=1.5", "ddpm.start_t=1.5 is not allowed"),
    ("ddpm.end_t=25", "ddpm.end_t=25 is not allowed: a level below ddpm.start_t=25, from 0 to 24"),
    ("ddpm.end_t=-1", "ddpm.end_t=-1 is not allowed"),
    ("ddpm.steps=26", "ddpm.steps=26 is not allowed: from 1 to 25"),
    ("ddpm.steps=0", "ddpm.steps=0 is not allowed"),
    ("ddpm.samples=0", "ddpm.samples=0 is not allowed"),
    ("ddpm.error_sigma=0", "ddpm.error_sigma=0.0 is not allowed"),
    ("ddpm.error_sigma=inf", "ddpm.error_sigma=inf is not allowed"),
    ("ddpm.samples=3 ddpm.scheduler=ddim", "ddpm.samples=3 would be 3 times one picture: ddpm.scheduler=ddim from"),
    ("ddpm.samples=3 ddpm.steps=1", "ddpm.samples=3 would be 3 times one picture: one step to level 0 from"),
    ("ddpm.samples=3 ddpm.start_t=1", "draws no noise; type ddpm.samples=1, or ddpm.init=diffused"),
    ("checkpoint=oracle degrade=none", "checkpoint=oracle needs a clean picture"),
    ("dip.kernel_size=4", "dip.kernel_size=4 is not allowed: an odd number, such as 3 or 5"),
    ("dip.layers=-1", "dip.layers=-1 is not allowed"),
    ("dip=skip dip.layers=0", "dip.layers=0 is not allowed: 1 or more halvings (dip=skip)"),
    ("dip=skip dip.kernel_size=2", "dip.kernel_size=2 is not allowed"),
    ("dip.network=skip", "dip.final_relu=True is not allowed: the skip network ends in a sigmoid; type dip=skip"),
    ("dip.lr=0", "dip.lr=0.0 is not allowed: above 0"),
    ("dip.lr=inf", "dip.lr=inf is not allowed: above 0"),
    ("dip.input_noise=inf", "dip.input_noise=inf is not allowed"),
    ("stopping.threshold=inf", "stopping.threshold=inf is not allowed"),
    ("dip.max_epochs=0", "dip.max_epochs=0 is not allowed"),
    ("dip.ema=1", "dip.ema=1.0 is not allowed"),
    ("degrade.sigma=0", "degrade.sigma=0.0 is not allowed"),
    ("degrade.sigma=null", "degrade.sigma=None is not allowed"),
    ("prior.revision=main", "prior.revision=main is not allowed: null where there is no prior.repo"),
    ("store=", "store= is not allowed: a folder for the fits"),
    ("stopping.patience=0", "stopping.patience=0 is not allowed"),
    ("image.size=7", "image.size=7 is not allowed: auto (the prior's) or a number of pixels from 8"),
    ("image.size=big", "image.size=big is not allowed"),
    ("image.box=[1,2,3]", "image.box=[1, 2, 3] is not allowed: [left,top,right,bottom]"),
    ("image=file", "image.path has no value: type image.path=<value>"),
    ("checkpoint=15", "checkpoint=15 is not a kept epoch: every 10th epoch is kept (dip.checkpoint_every); "
     "type checkpoint=10 or 20"),
    ("checkpoint=3", "type checkpoint=10"),
    ("checkpoint=stopp", "(did you mean stop?)"),
    ("checkpoint=2.5", "checkpoint=2.5 is not allowed: stop, last, oracle, an epoch"),
    ("dip.max_epochs=9", "dip.max_epochs=9 is not allowed: 10 or more"),
    ("threads=0", "threads=0 is not allowed"),
    ("device=gpu", "device=gpu is not allowed: auto, cpu, cuda or cuda:<number>"),
    ("device=cpu:0", "device=cpu:0 is not allowed"),
    ("image.reference=clean.png", "needs degrade=none"),
    ("degrade=mask degrade.sigma=-1", "degrade.sigma=-1.0 is not allowed: from 0, to 255"),
    ("degrade.correlation=0", "degrade.correlation=0.0 is not allowed: above 0 pixels, or null for white noise"),
    ("degrade=mask degrade.correlation=1", "degrade.sigma=0.0 is not allowed: above 0, to 255 (0-255 scale)"),
    ("degrade=poisson degrade.missing=0.5 degrade.sigma=0", "degrade.sigma=0.0 is not allowed: from 0.1 to 255"),
    ("experiment=superres degrade=poisson", "degrade.sigma=0.0 is not allowed: from 0.1 to 255 (0-255 scale) "
     "with degrade.kind=poisson"),
    ("degrade=impulse degrade.sigma=128", "degrade.sigma=128.0 is not allowed: from 0.1 to 127.5 (0-255 scale) "
     "with degrade.kind=impulse"),
    ("checkpoint=null", "checkpoint=null is not allowed"),
    ("checkpoint=none objective=[result.psnr,dip.psnr]", "objective=dip.psnr is not allowed: a figure of the result"),
    ("degrade=poisson degrade.correlation=1", "degrade.correlation=1.0 is not allowed: null with degrade.kind=poisson"),
    ("degrade=none degrade.correlation=1", "degrade.correlation=1.0 is not allowed: null with degrade.kind=none"),
    ("degrade.missing=0", "degrade.missing=0.0 is not allowed: a share of the pixels above 0 and below 1"),
    ("degrade.missing=1", "degrade.missing=1.0 is not allowed"),
    ("degrade=none degrade.missing=0.5", "degrade.missing=0.5 is not allowed: null, as the picture of degrade=none is"),
    ("degrade=none degrade.mask=holes.png", "degrade.mask=holes.png needs degrade.sigma: noise is not estimated"),
    ("degrade=none degrade.sigma=0", "degrade.sigma=0.0 is not allowed: above 0, to 255 (0-255 scale), or null"),
    ("degrade=none degrade.sigma=0", "0 is for a picture with holes, degrade.mask=<file>"),
]  # fmt: skip


@pytest.mark.parametrize(("override", "message"), REFUSED, ids=[r[0] for r in REFUSED])
def test_refusals_say_what_was_given_and_what_is_allowed(override, message):
    with pytest.raises(UserError) as caught:
        config.typed(composed(*override.split()))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("override", ["ddpm.start_t=1", "ddpm.start_t=1000", "ddpm.end_t=24", "ddpm.steps=25",
                                      "ddpm.samples=3 ddpm.steps=1 ddpm.end_t=1", "ddpm.samples=3 ddpm.start_t=2",
                                      "device=cuda:1", "dip.layers=0", "dip=skip dip.layers=1",
                                      "dip.kernel_size=1", "degrade=mask degrade.missing=0.99", "degrade.missing=0.5",
                                      "degrade=none degrade.mask=holes.png degrade.sigma=0",
                                      "image.size=8", "checkpoint=20",
                                      "ddpm.start_t=auto", "ddpm.samples=3 ddpm.scheduler=ddim ddpm.init=diffused",
                                      "checkpoint=oracle degrade=none image.reference=clean.png",
                                      "checkpoint=some/epochs/000010.safetensors"])  # fmt: skip
def test_the_last_allowed_value_is_allowed(override):
    config.typed(composed(*override.split()))
