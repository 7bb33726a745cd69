"""What the documentation tells people to type: its Python runs, its commands are accepted."""

import re
import shlex
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support import ROOT

import dipddpm as dd
from dipddpm.cli.check import check_arguments
from dipddpm.names import SCRIPTS

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = re.compile(r"python (sample|train_dip)\.py\b([^`#\n|]*)")
UNKNOWN = ("<", "...", "$", "../shared", "celebahq256")  # a place to fill in, data beside the project, the Hub
SIDES = {"me.png": 64, "clean.png": 64, "mask.png": 64, "holes.png": 64, "damaged.png": 64, "small.png": 16,
         "psf.png": 9, "compressed.png": 64, "compressed.jpg": 64,
         "F16_noise4.png": 512, "F16_clean.png": 512}  # fmt: skip
EXTRAS = {"experiment=search": "hydra_plugins.hydra_optuna_sweeper"}


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder with the files that the pages speak of, to work in."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, side in SIDES.items():
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(name)
    Image.fromarray(np.uint8(255) * rng.integers(0, 2, (64, 64), dtype=np.uint8)).save("mask.png")
    for folder in ("faces", "photos"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "me.png").symlink_to(tmp_path / "me.png")
    return tmp_path


def commands():
    """Return (script, arguments) of every command whose files and packages a test can have."""
    found = {}
    for page in PAGES:
        for script, rest in COMMAND.findall(page.read_text(encoding="utf-8").replace("\\\n", " ")):
            typed = " ".join(rest.split())
            if not any(word in typed for word in UNKNOWN):
                found.setdefault(f"{script} {typed}", None)
    return list(found)


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_pages_is_accepted(command, desk, tiny_prior, capsys):
    for option, module in EXTRAS.items():
        if option in command:
            pytest.importorskip(module)
    script, *typed = shlex.split(command)
    (tiny := desk / "outputs/prior/mine").parent.mkdir(parents=True)
    tiny.symlink_to(tiny_prior)
    try:
        check_arguments({name: run for run, name in SCRIPTS.items()}[f"{script}.py"], typed)
    except SystemExit:
        pytest.fail(capsys.readouterr().err)


def python_of(page):
    """Return the code of the section called Python: its indented lines."""
    section = page.read_text(encoding="utf-8").partition("\n## Python\n")[2].partition("\n## ")[0]
    return "\n".join(line.removeprefix("    ") for line in section.splitlines() if line.startswith("    "))


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs/guide.md"], ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page, desk, short_fits):
    code = python_of(page)
    assert "import dipddpm as dd" in code and "WindowPipeline" in code
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["result"].picture.shape == (1, 3, 64, 64) and names["result"].nfe == 10


@pytest.fixture
def recipes(monkeypatch):
    """The names that the fenced blocks of contributing.md define; their registrations are undone afterwards."""
    from collections.abc import Callable

    import torch.nn.functional as F
    from torch import Tensor, nn

    from dipddpm.dip.curves import Curves
    from dipddpm.dip.networks import draw
    from dipddpm.dip.stopping import Stop, _standing_minimum

    registries = {"NOISES": dd.NOISES, "OPERATORS": dd.OPERATORS, "RULES": dd.RULES, "NETWORKS": dd.NETWORKS}
    registries["INITS"] = dd.INITS
    names: dict[str, Any] = dict(torch=torch, F=F, nn=nn, Tensor=Tensor, Callable=Callable, Any=Any, draw=draw,
                                 dataclass=dataclass, Noise=dd.Noise, Operator=dd.Operator, Curves=Curves, Stop=Stop,
                                 _standing_minimum=_standing_minimum, **registries)  # fmt: skip
    before = {name: dict(registry) for name, registry in registries.items()}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/contributing.md").read_text(encoding="utf-8"), re.S)
    for block in blocks:
        exec(block, names)
    yield names
    for name, registry in registries.items():
        registry.clear()
        registry.update(before[name])


def test_the_recipes_of_contributing_work_from_python(recipes, tiny_prior):
    clean = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    speckled = dd.degrade(clean, noise=recipes["Speckle"](25))
    assert (speckled.noisy - clean).square().mean().sqrt() * 255 == pytest.approx(25, rel=0.1)

    cropped = dd.degrade(clean, noise=dd.NoNoise(), operator=recipes["Crop"](8))
    assert torch.equal(cropped.y, clean[..., 8:-8, 8:-8])
    assert torch.equal(cropped.put_back(torch.zeros_like(clean))[..., 8:-8, 8:-8], cropped.y)

    settings = dd.DipSettings("linear", lr=1e-2, max_epochs=60)
    fit = dd.fit_dip(speckled, "linear", settings, stopping=dd.Stopping("flat", patience=20))
    assert fit.why in ("flat", "max_epochs") and type(fit.network) is recipes["Linear"]

    prior = dd.load_prior(tiny_prior, device="cpu")
    start = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    assert dd.restore(prior, start, dd.Window(20, steps=2, init="half")).picture.shape == start.shape
