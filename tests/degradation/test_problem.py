"""The picture that is to be restored: what is given stays as it is, and nothing is estimated that is known."""

import math
from typing import Any

import pytest
import torch

from dipddpm import seeds
from dipddpm.degradation import problem as module
from dipddpm.degradation.masks import Mask, fill
from dipddpm.degradation.noise import Correlated, Gaussian, Impulse, NoNoise, Poisson
from dipddpm.degradation.operators import Identity
from dipddpm.degradation.problem import Problem, degrade
from dipddpm.degradation.scaling import Downscale
from dipddpm.pictures import read


def smooth(height=61, width=67, blue=0.5):
    rows, columns = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    return torch.stack([rows, columns, blue + 0 * rows])[None]


def noisy(sigma, x=None):
    x = smooth() if x is None else x
    return x + sigma / 255 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


def test_noise_is_added_to_the_picture_and_follows_from_it_and_from_the_seed():
    def noise(picture, seed):
        posed = degrade(picture, Gaussian(25), seed=seed)
        assert posed.clean is not None and torch.equal(posed.clean, picture) and isinstance(posed.operator, Identity)
        return posed.noisy - posed.clean

    one = noise(smooth(), 0)
    assert 255 * one.std() == pytest.approx(25, rel=0.02)
    assert torch.equal(one, noise(smooth(), 0))
    for other in (noise(smooth(), 1), noise(smooth().flip(2), 0)):
        assert abs(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]) < 0.03


def test_seeds_are_derived_from_the_content_of_the_picture_as_it_is_loaded():
    loaded = read.load(read.BUILT_IN, 16)
    clean = read.to_tensor(loaded.pixels)
    posed = degrade(clean, Gaussian(25), Mask(0.5), seed=3)
    content = seeds.content_hash(loaded.pixels)
    assert posed.content == content == Problem(clean).content
    whole = clean + 25 / 255 * torch.randn(clean.shape, generator=seeds.generator(3, "noise", content))
    known = Mask(0.5).bind((16, 16), 3, content).known
    assert known is not None
    assert torch.equal(posed.noisy, fill(whole, known)), "the noise is that of the whole picture"


@pytest.mark.parametrize("noise", [Gaussian(25), Poisson(25), Impulse(25), Correlated(25), NoNoise()])
@pytest.mark.parametrize("operator", [Identity(), Mask(0.3), Downscale(2)])
def test_pictures_in_a_batch_are_damaged_as_alone(noise, operator):
    clean = torch.cat([smooth(32, 36), smooth(32, 36, 0.25).flip(3)])
    both = degrade(clean, noise, operator, seed=1)
    assert len(both) == 2 and both.operator.partial is operator.partial
    for i in range(2):
        alone = degrade(clean[i : i + 1], noise, operator, seed=1)
        assert torch.equal(both.noisy[i], alone.noisy[0]) and both.contents[i] == alone.content
    assert both.content not in both.contents
    assert both.sigma == noise.sigma and both.sigma_source == "given"


def test_the_strength_of_poisson_noise_is_over_the_whole_picture_whatever_is_missing():
    """Noise comes first: a pixel that is known has the noise that it has in the whole picture."""
    whole, holes = degrade(smooth(), Poisson(25)), degrade(smooth(), Poisson(25), Mask(0.7))
    assert isinstance(holes.operator, Mask) and holes.operator.known is not None
    known = holes.operator.known.expand_as(whole.noisy)
    assert torch.equal(holes.noisy[known], whole.noisy[known]) and holes.notes == whole.notes
    small = degrade(smooth(60, 66), Poisson(25), Downscale(2))
    assert small.clean is not None
    assert 255 * (small.y - Downscale(2).measure(small.clean)).square().mean().sqrt() == pytest.approx(25, rel=0.05)


def test_a_kind_of_noise_is_noted_in_its_own_terms():
    assert degrade(smooth(), Gaussian(25), notes=("a note",)).notes == ("a note",)
    (said,) = degrade(smooth(), Correlated(25, correlation=2)).notes
    assert said == "correlated noise: blurred by 2 pixels"
    assert degrade(smooth(), Poisson(0)).notes == ()


def test_the_picture_given_is_y_and_a_clean_one_changes_nothing_of_it():
    y = noisy(20)
    alone, compared = Problem(y), Problem(y, clean=smooth())
    assert torch.equal(alone.noisy, y) and torch.equal(compared.noisy, y) and compared.content == alone.content
    assert alone.clean is None and compared.clean is not None and torch.equal(compared.clean, smooth())


def test_noise_is_estimated_only_where_it_is_not_given_and_then_once(monkeypatch):
    asked = []
    monkeypatch.setattr(module, "estimate_sigma", lambda y: asked.append(y) or 17.0)
    for posed, sigma in ((Problem(noisy(20), 12.0), 12.0), (degrade(smooth()), 25.0), (Problem(noisy(20), 0.0), 0.0)):
        assert (posed.sigma, posed.sigma_source) == (sigma, "given")
    posed = Problem(noisy(20))
    assert not asked, "not before something needs it"
    assert (posed.sigma, posed.sigma, len(asked), posed.sigma_source) == (17.0, 17.0, 1, "estimated")


def test_a_small_picture_is_completed_and_shown_in_squares():
    clean = smooth(60, 66)
    small = Downscale(3).measure(clean)
    posed = Problem(small, 0.0, operator=Downscale(3), clean=clean)
    assert posed.noisy.shape == clean.shape and torch.equal(posed.y, small)
    assert torch.allclose(posed.shown, small.repeat_interleave(3, 2).repeat_interleave(3, 3), atol=1e-6)
    assert posed.words == "3 times smaller, upscaled" and Problem(small).words == "noisy picture"


def test_the_part_that_y_tells_is_put_back_where_it_has_no_noise():
    guess = torch.zeros(1, 3, 61, 67)
    posed = degrade(smooth(), NoNoise(), Mask(0.5))
    assert torch.equal(posed.put_back(guess), posed.shown)
    for other in (degrade(smooth(), Gaussian(5), Mask(0.5)), degrade(smooth(), Gaussian(5)), Problem(smooth(), 0.0)):
        assert other.put_back(guess) is guess


def test_the_losses_of_a_whole_noisy_picture_alone_have_a_crossing():
    """With pixels missing one loss is over fewer pixels than the other; without noise there is none to learn."""
    posed = (
        degrade(smooth(), Gaussian(5)),
        degrade(smooth(), Gaussian(5), Mask(0.5)),
        degrade(smooth(), NoNoise(), Mask()),
    )
    assert [each.has_crossing for each in posed] == [True, False, False]


REFUSED = [
    (lambda: Problem(torch.zeros(3, 8, 8)), "y has the shape .3, 8, 8.: must be .N, 3, H, W., and not empty"),
    (lambda: Problem(torch.zeros(0, 3, 8, 8), 5), "y has the shape .0, 3, 8, 8.: must be"),
    (lambda: degrade(torch.zeros(1, 3, 0, 8)), "clean has the shape .1, 3, 0, 8.: must be"),
    (lambda: Problem(torch.zeros(1).expand(1, 3, 10**6, 10**6), 5), "y has 1000000x1000000 pixels: must be at most"),
    (lambda: Problem(smooth(), 5, operator=Downscale(10**6)), "y, 1000000 times smaller, has 61000000x67000000 pixels"),
    (lambda: degrade(smooth(), operator=Downscale(100)), "factor=100: must divide both sides of the picture, 61x67"),
    (lambda: degrade(smooth(), operator=Downscale(2)), "factor=2: must divide both sides of the picture, 61x67"),
    (lambda: Problem(smooth(), math.inf), "sigma=inf: must be 0 or more and finite"),
    (lambda: degrade(smooth(), Correlated(math.inf)), "sigma=inf: must be 0 or more and finite"),
    (lambda: Poisson(-1), "sigma=-1: must be 0 or more"),
    (lambda: NoNoise(5), "sigma=5: must be 0 for no noise"),
    (lambda: Correlated(5, 0), "correlation=0: must be above 0 pixels, and finite"),
    (lambda: Correlated(-5, 1), "sigma=-5: must be 0 or more"),
    (lambda: Problem(smooth() / 0, 5), "y has values that are not finite"),
    (lambda: Problem(smooth(), 5, clean=smooth() / 0), "clean has values that are not finite"),
    (lambda: degrade(smooth() / 0, Poisson(25)), "clean has values that are not finite"),
    (lambda: degrade(smooth() - 0.1, Poisson(25)), "a picture with negative values cannot have Poisson noise"),
    (lambda: Problem(smooth(), 5, operator=Mask(known=torch.ones(1, 1, 9, 67) > 0)),
     "known has the shape .1, 1, 9, 67.: must be .1 or N, 1, H, W. for pictures of shape .1, 3, 61, 67."),
    (lambda: degrade(smooth(), operator=Mask(known=torch.ones(2, 1, 61, 67) > 0)), "known has the shape .2, 1, 61"),
    (lambda: Mask(known=torch.zeros(1, 1, 61, 67) > 0), "known has a mask without a known pixel"),
    (lambda: Problem(torch.zeros(1, 3, 8, 8, dtype=torch.uint8)), "y is uint8"),
    (lambda: Problem(smooth(), -1), "sigma=-1: must be 0 or more"),
    (lambda: Problem(smooth(), float("nan")), "sigma=nan"),
    (lambda: Problem(smooth(), operator=Downscale(2)), "sigma=None: must be given with an operator .2 times smaller."),
    (lambda: Problem(smooth(), 0, operator=Mask(0.5)), "the missing pixels are not drawn yet"),
    (lambda: Problem(smooth(), 5, clean=smooth(9, 9)), "clean has the shape .1, 3, 9, 9.: must be .1, 3, "),
    (lambda: Problem(smooth(), 5, contents=("a", "b")), "contents has 2 hashes: must be one for each of 1 pictures"),
    (lambda: degrade(0 * smooth(), Poisson(25)), "a black picture has no photons"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message[:20] for _, message in REFUSED])
def test_a_problem_that_cannot_be_is_refused_by_argument(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("make", "given", "message"), [
    (degrade, {"noise": 25}, r"noise is of type int: give a noise, such as dd.Gaussian\(25\)"),
    (degrade, {"noise": "gaussian"}, "noise is of type str"),
    (degrade, {"noise": Poisson}, "noise is the class Poisson"),
    (degrade, {"operator": "mask"}, "operator is of type str: give an operator, such as dd.Mask"),
    (Problem, {"operator": lambda x: x}, r"operator is of type function: .*dd.Callable\(function\)"),
    (Problem, {"operator": Downscale}, "operator is the class Downscale"),
])  # fmt: skip
def test_a_name_or_a_class_in_place_of_an_object_is_refused(make, given: dict[str, Any], message):
    with pytest.raises(TypeError, match=message):
        make(smooth(), **given)


def test_an_array_is_refused_where_a_tensor_is_wanted():
    array: Any = smooth().numpy()
    for make, name in (
        (lambda: Problem(array, 5), "y"),
        (lambda: degrade(array), "clean"),
        (lambda: Problem(smooth(), 5, clean=array), "clean"),
        (lambda: Mask(known=array[:, :1] > 0), "known"),
    ):
        with pytest.raises(TypeError, match=f"{name} is of type ndarray: give a torch.Tensor"):
            make()


def test_a_missing_pixel_may_hold_anything():
    y, known = smooth(9, 11), torch.ones(1, 1, 9, 11) > 0
    known[..., 4, 5] = False
    y[..., 4, 5] = math.nan
    assert Problem(y, 0.0, operator=Mask(known=known)).noisy.isfinite().all()
