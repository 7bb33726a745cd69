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
