"""The public names: each there, each lazy, and the examples of the package's docstring hold."""

import subprocess
import sys

import pytest
import torch
from support import ROOT

import dipddpm as dd


@pytest.mark.parametrize("name", dd.__all__)
def test_every_public_name_is_there_and_documented(name):
    thing = getattr(dd, name)
    assert thing.__doc__


def test_importing_the_package_imports_nothing_heavy():
    heavy = "{'torch', 'diffusers', 'pytorch_lightning', 'numpy', 'hydra'}"
    script = f"import sys, dipddpm; print(sorted({heavy} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_the_example_of_the_docstring_restores_a_picture():
    assert dd.__doc__ is not None
    lines = dd.__doc__.partition("import dipddpm as dd\n")[2].partition("\nThe public names")[0]
    code = "\n".join(line.strip() for line in lines.splitlines())
    names: dict = {"dd": dd}
    exec(code.replace('network="skip"', 'settings=dd.DipSettings.of("skip", max_epochs=60)'), names)
    result, problem = names["result"], names["problem"]
    assert result.nfe == 10 and result.picture.shape == (1, 3, 64, 64)
    assert dd.psnr(result.picture, problem.clean) > dd.psnr(problem.noisy, problem.clean) + 3


def test_an_init_of_ones_own_is_an_argument(tiny_prior):
    seen = []

    def mine(p, ab, noise, error_rms):
        seen.append(float(ab))
        return 0.5 * p

    prior = dd.load_prior(tiny_prior, device="cpu")
    start = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    dd.restore(prior, start, dd.Window(20, steps=2, init=mine))
    assert seen == [float(prior.schedule.alpha_bar(20))]


class Left(dd.Operator):
    """The left half is known."""

    name = "left"
    spread = 1.0

    def measure(self, x):
        return x * (torch.arange(x.shape[-1]) < x.shape[-1] // 2)

    def adjoint(self, u):
        return self.measure(u)


def test_an_operator_of_ones_own_is_never_taken_for_another(tmp_path):
    pictures = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    small = dd.DipSettings(layers=1, channels=8, max_epochs=10)
    problem = dd.Problem(pictures[:1], sigma=0, operator=Left())
    assert dd.fit_dip(problem, settings=small).picture.shape == (1, 3, 16, 16)
    with pytest.raises(ValueError, match="Left has no request"):
        dd.fit_dip(problem, settings=small, store=tmp_path)

    class Drawn(Left):
        def bind(self, size, seed, content):
            return Drawn()

    with pytest.raises(ValueError, match="Drawn has no joined"):
        dd.degrade(pictures, operator=Drawn())


@pytest.mark.parametrize("picture", [torch.zeros(1, 3, 16, 16, dtype=torch.uint8), torch.zeros(3, 16, 16)])
def test_a_tensor_that_holds_no_pictures_is_refused(tiny_prior, picture):
    with pytest.raises(ValueError, match="picture (is uint8: give floating-point|has the shape .3, 16, 16.: must be)"):
        dd.restore(dd.load_prior(tiny_prior, device="cpu"), picture, dd.Window(5))


def test_pictures_of_another_number_than_the_problems_are_refused(tiny_prior):
    problem = dd.Problem(torch.rand(2, 3, 16, 16), sigma=25)
    with pytest.raises(ValueError, match="picture has the shape .1, 3, 16, 16."):
        dd.restore(dd.load_prior(tiny_prior, device="cpu"), problem.noisy[:1], dd.Window(5), problem)


def test_integers_are_not_written_as_a_picture_in_0_to_1(tmp_path):
    with pytest.raises(ValueError, match="the picture is uint8: give floating-point values"):
        dd.save_picture(tmp_path / "a.png", torch.zeros(3, 8, 8, dtype=torch.uint8))


def test_more_impulse_noise_than_a_picture_can_have_is_refused():
    with pytest.raises(ValueError, match="sigma=200: this picture can have less impulse noise"):
        dd.degrade(torch.full((1, 3, 8, 8), 0.5), noise=dd.Impulse(200))
    with pytest.raises(ValueError, match="this picture can have less random_impulse noise, at most 73.6"):
        dd.degrade(torch.full((1, 3, 8, 8), 0.5), noise=dd.RandomImpulse(100))


@pytest.mark.parametrize("form", ["auto", "gradient", "dps", "dip"])
def test_inference_mode_around_a_whole_restoration_changes_nothing(tiny_prior, form):
    def restored() -> torch.Tensor:
        x = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        problem = dd.degrade(x, dd.Gaussian(10), dd.Blur.gaussian(1.0))
        fit = dd.fit_dip(problem, settings=dd.DipSettings(layers=1, channels=8, max_epochs=10))
        window = dd.Window(5, scheduler="ddim", consistency=form)
        prior, dips = dd.load_prior(tiny_prior, device="cpu"), fit.pictures if form == "dip" else None
        *_, last = dd.iterate(prior, fit.picture, window, problem, dips=dips)
        picture = dd.restore(prior, fit.picture, window, problem, dips=dips).picture
        assert torch.equal(last.picture, picture) and not picture.requires_grad
        return picture

    with torch.inference_mode():
        inside = restored()
    assert torch.equal(inside, restored())
