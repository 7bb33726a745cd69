"""What a refusal advises works when it is typed."""

import re

import pytest
from PIL import Image

from dipddpm.cli import check as cli
from dipddpm.config.compose import unknown_key

OVERRIDE = re.compile(r"[a-z][a-z_./]*=(?:\[[^\]]*\]|[^\s,;)]+)")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a clean picture, a noisy one and a mask, in which the command is typed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("own.png", "noisy.png"):
        Image.new("RGB", (64, 64), (200, 100, 50)).save(tmp_path / name)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (64, 64)).save(tmp_path / "turned.jpg", exif=turned)
    (tmp_path / "faces").mkdir()
    Image.new("RGB", (64, 64), (9, 100, 50)).save(tmp_path / "faces" / "1.png")
    mask = Image.new("L", (64, 64), 255)
    mask.paste(0, (0, 0, 9, 9))
    mask.save(tmp_path / "holes.png")
    return tmp_path


def mended(arguments, advised, line):
    """The arguments with the advised overrides in place of the refused one and of those of the same group or key."""
    replaced = {o.partition("=")[0] for o in advised}
    if refused := re.match(r"\+*([^ =]+)\S* (?:names|is|cannot|has) ", line):
        replaced.add(refused[1])
    return [*(a for a in arguments if a.lstrip("+").partition("=")[0] not in replaced), *advised]


# A command line, a part of its refusal, and values for the advice's <...>. Where a refusal advises one override or
# another, each is typed.
ADVICE = [
    ("image=~/own.png", "names a file", {}),
    ("image=faces", "names a folder, and image is a choice: type image=folder image.path=faces", {}),
    ("faces", "faces cannot be read: type image=folder image.path=faces", {}),
    ("own.png", "own.png cannot be read: type image.path=own.png for a clean picture", {}),
    ("image=folder image.path=face", "image.path=face does not exist: did you mean faces?", {}),
    ("image.path=own.png image.box=[1,2,3,4.5]", "type image.box=<value>", {"value": "[0,0,9,9]"}),
    ("experiment=jpeg10 image=noisy image.path=noisy.png operator=identity", "type noise=own", {}),
    ("experiment=jpeg10 image=noisy image.path=turned.jpg", "operator=identity noise=own", {}),
    ("operator=holes.png image.path=own.png", "type operator=mask operator.file=holes.png", {}),
    ("+experiment=inpaint", "type experiment=inpaint", {}),
    ("++dip=skip", "type dip=skip", {}),
    ("+ddpm.start_t=20", "type ddpm.start_t=20", {}),
    ("noise.correlation=1", "type noise=correlated noise.correlation=1", {}),
    ("image.reference=own.png image.path=noisy.png", "type image=noisy image.reference=own.png", {}),
    ("-m operator=identity,mask operator.missing=0.3", "type operator=mask operator.missing=0.3", {}),
    ("noise=poisson noise.sigma=null", "type noise.sigma=<value>", {"value": "25"}),
    ("image.box.0=1", "type image.box=<value>", {"value": "[0,0,99,99]"}),
    ("seed==1", "type seed=<value>", {"value": "1"}),
    ("dip=(skip)", "type dip=<choice>", {"choice": "skip"}),
    ("noise.kind=poisson", "type noise=poisson", {}),
    ("image.path=zzz", "type image.path=<file> or image.path=astronaut", {"file": "own.png"}),
    ("store=own.png", "type store=<folder>", {"folder": "fits"}),
    ("checkpoint=15", "type checkpoint=10", {}),
    ("dip.network=skip", "type dip=skip dip.final_relu=false", {}),
    ("image.size=100", "type image.size=96 or image.size=104", {}),
    ("image=noisy image.path=noisy.png operator=mask operator.file=holes.png image.box=[0,0,64,64]",
     "type noise.sigma=<0-255 scale>, or noise=none", {"0-255 scale": "5"}),
    ("-m threads=1,2", "type hydra.job.config.override_dirname.exclude_keys=[]", {}),
    ("-m experiment=search hydra/sweeper/sampler=cmaes", "type hydra/sweeper/sampler=seeded", {}),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "part", "values"), ADVICE, ids=[typed for typed, _, _ in ADVICE])
def test_what_a_refusal_advises_is_accepted(typed, part, values, folder, refuse):
    if "search" in typed:
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs the extra `optuna`")
    arguments = typed.replace("{folder}", str(folder)).split()
    (line,) = refuse("sample", *arguments)
    line = line.removeprefix("error: ").partition(" (in the job")[0]
    assert part in line
    for name, value in values.items():
        line = line.replace(f"<{name}>", value)
    advice = line.partition("type ")[2]
    for one in re.split(r",? or (?:type )?|, (?=and )|, (?=[a-z./_]+=)", advice):
        if advised := OVERRIDE.findall(one):
            cli.check_arguments("sample", mended(arguments, advised, line))


def test_what_is_to_be_left_out_can_be_left_out(folder, refuse):
    own = ["image=noisy", "image.path=noisy.png"]
    (line,) = refuse("sample", *own, "noise.correlation=1")
    assert line.endswith("leave noise.correlation=1 out, because image=noisy adds no noise")
    cli.check_arguments("sample", own)


MEANT = {"lr=0.1": "dip.lr", "dip.start_t=20": "ddpm.start_t", "path=x": "image.path or prior.path",
         "imag=file": "image", "ddpm.startt=3": "ddpm.start_t", "+noise.sgma=1": "noise.sigma"}  # fmt: skip


@pytest.mark.parametrize(("typed", "meant"), MEANT.items())
def test_a_mistyped_key_is_told_its_name(typed, meant):
    key = typed.lstrip("+").partition("=")[0]
    assert f"{key} is not a key (did you mean {meant}?)" in unknown_key(key)


def test_a_key_that_resembles_none_is_told_of_no_group_as_a_key():
    line = unknown_key("noise.foo")
    assert line == "noise.foo is not a key; noise has: noise.sigma noise.correlation"
