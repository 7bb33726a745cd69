"""What a refusal advises works when it is typed."""

import re

import pytest
from PIL import Image

from dipddpm.cli import check as cli

OVERRIDE = re.compile(r"[a-z][a-z_./]*=(?:\[[^\]]*\]|[^\s,;)]+)")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a clean picture, a noisy one and a mask, in which the command is typed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("own.png", "noisy.png"):
        Image.new("RGB", (64, 64), (200, 100, 50)).save(tmp_path / name)
    mask = Image.new("L", (64, 64), 255)
    mask.paste(0, (0, 0, 9, 9))
    mask.save(tmp_path / "holes.png")
    return tmp_path


def refused(capsys, arguments):
    with pytest.raises(SystemExit) as left:
        cli.check_arguments("sample", arguments)
    told = capsys.readouterr()
    lines = told.err.strip().splitlines()
    assert left.value.code == 2 and len(lines) == 1 and not told.out, told
    return lines[0].removeprefix("error: ").partition(" (in the job")[0]


def mended(arguments, advised, line):
    """The arguments with the advised overrides in place of the refused one and of those of the same group or key."""
    replaced = {o.partition("=")[0] for o in advised} | {re.split("[ =]", line.lstrip("+"))[0]}
    return [*(a for a in arguments if a.lstrip("+").partition("=")[0] not in replaced), *advised]


# A command line, a part of its refusal, and values for the advice's <...>, if there are any. Some refusals advise one
# override or another: each is typed.
ADVICE = [
    ("image={folder}/own.png", "names a file", {}),
    ("image=~/own.png", "names a file", {}),
    ("image=noisy.png", "names a file", {}),
    ("prior=./own", "names a file", None),
    ("operator=holes.png image.path=own.png", "type operator=mask operator.file=holes.png", {}),
    ("+experiment=inpaint", "type experiment=inpaint", {}),
    ("+noise=poisson", "type noise=poisson", {}),
    ("++dip=skip", "type dip=skip", {}),
    ("noise.correlation=1", "type noise=correlated noise.correlation=1", {}),
    ("operator.factor=2", "type operator=downscale operator.factor=2", {}),
    ("image.reference=own.png image.path=noisy.png", "type image=noisy image.reference=own.png", {}),
    ("-m operator=identity,mask operator.missing=0.3", "type operator=mask operator.missing=0.3", {}),
    ("-m noise=gaussian,poisson noise.correlation=1", "type noise=correlated noise.correlation=1", {}),
    ("noise=poisson noise.sigma=null", "type noise.sigma=<value>", {"value": "25"}),
    ("image.box.0=1", "type image.box=<value>", {"value": "[0,0,99,99]"}),
    ("seed==1", "type seed=<value>", {"value": "1"}),
    ("dip=(skip)", "type dip=<choice>", {"choice": "skip"}),
    ("noise=null", "type noise=<name>", {"name": "poisson"}),
    ("noise.kind=poisson", "type noise=poisson", {}),
    ("image=file", "type image.path=<value>", {"value": "own.png"}),
    ("image.path=zzz", "type image.path=<file> or image.path=astronaut", {"file": "own.png"}),
    ("store=own.png", "type store=<folder>", {"folder": "fits"}),
    ("checkpoint=15", "type checkpoint=10", {}),
    ("checkpoint=oracle image=noisy image.path=noisy.png", "type image.reference=<file>", {"file": "own.png"}),
    ("dip=skip dip.layers=9", "type dip.layers=5", {}),
    ("dip.network=skip", "type dip=skip dip.final_relu=false", {}),
    ("image.size=100", "type image.size=96 or image.size=104", {}),
    ("ddpm.samples=2 ddpm.scheduler=ddim", "type ddpm.samples=1, ddpm.scheduler=ddpm or ddpm.init=diffused", {}),
    ("noise=none", "type noise=gaussian, or type operator=mask or operator=downscale", {}),
    ("noise=own", "type image=noisy, or noise=gaussian", None),
    ("image=noisy image.path=noisy.png noise=poisson", "type noise=own", None),
    ("image=noisy image.path=noisy.png operator=mask operator.file=holes.png",
     "type noise.sigma=<0-255 scale>, or noise=none", {"0-255 scale": "5"}),
    ("image=noisy image.path=noisy.png ddpm.init=matched",
     "type ddpm.error_sigma=<0-255 scale>, image.reference=<clean file>", {"0-255 scale": "9", "clean file": "own.png", "level": "20"}),
    ("-m seed=interval(1,5)", "type seed=range(first,end,step)", None),
    ("-m threads=1,2", "type hydra.job.config.override_dirname.exclude_keys=[]", {}),
    ("prior.repo=google/x", "type prior=celebahq256 prior.repo=google/x", {"commit": "a" * 40}),
    ("degrade=poisson", "type noise=poisson", {}),
    ("hydra.run.dir=a,b", "one value", None),
    ("-m experiment=search hydra/sweeper/sampler=cmaes", "type hydra/sweeper/sampler=seeded", {}),
    ("-m experiment=search hydra/sweeper/sampler=grid", "type hydra/sweeper/sampler=seeded", {}),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "part", "values"), ADVICE, ids=[typed for typed, _, _ in ADVICE])
def test_what_a_refusal_advises_is_accepted(typed, part, values, folder, capsys):
    if "search" in typed:
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs the extra `optuna`")
    arguments = typed.replace("{folder}", str(folder)).split()
    line = refused(capsys, arguments)
    assert part in line
    if values is None:
        return  # the advice is a form and no value
    for name, value in values.items():
        line = line.replace(f"<{name}>", value)
    advice = line.partition("type ")[2]
    for one in re.split(r",? or (?:type )?|, (?=and )|, (?=[a-z./_]+=)", advice):
        if advised := OVERRIDE.findall(one):
            cli.check_arguments("sample", mended(arguments, advised, line))
