"""One look at what can be refused before work: settings, then files, each file once."""

import subprocess
import sys

import pytest
from PIL import Image
from support import ROOT

from dipddpm.errors import UserError
from dipddpm.pictures import read
from dipddpm.runs.inspect import inspect, inspect_size


def picture(path, size=(16, 16), colour=(200, 100, 50)):
    Image.new("RGB", size, colour).save(path)
    return path


def test_a_job_that_can_be_run_is_left_alone(configure, tmp_path):
    picture(tmp_path / "me.png")
    for command in ("fit", "sample"):
        inspect(configure(f"image.path={tmp_path}/me.png"), command)
    assert not (tmp_path / "fits").exists(), "a look leaves nothing"


REFUSED = [
    ("sample", "image.path=", "image.path= names no picture: type image.path=<file> or image.path=astronaut"),
    ("fit", "checkpoint=none", "checkpoint=none needs no DIP, and train_dip.py fits a DIP"),
    ("fit", "checkpoint=a.safetensors", "is a picture of an earlier fit"),
    ("sample", "checkpoint=a.safetensors", "checkpoint=a.safetensors: no such file"),
    (
        "sample",
        "image=noisy image.path=astronaut ddpm.init=matched operator=blur",
        "ddpm.init=matched cannot be used: the error of the DIP output is unknown without a clean picture, because "
        "it is estimated with operator=identity alone; type ddpm.error_sigma=",
    ),
    (
        "sample",
        "image=noisy image.path=astronaut ddpm.start_t=auto checkpoint=a.safetensors",
        "ddpm.start_t=auto cannot be used: the error of the DIP output is unknown without a clean picture; type "
        "ddpm.error_sigma=<0-255 scale>, checkpoint=stop, image.reference=<clean file>, or ddpm.start_t=<level>",
    ),
    (
        "sample",
        "image=noisy image.path=astronaut checkpoint=none ddpm.start_t=auto operator=downscale operator.factor=2 "
        "noise=none",
        "ddpm.start_t=auto cannot be used: the error of the completed picture is unknown",
    ),
    ("sample", "image.path=gone.png", "image.path=gone.png does not exist"),
    ("sample", "prior.path=gone", "prior.path=gone: no such folder"),
    ("fit", "prior.path=gone image.size=16", "prior.path=gone: no such folder"),
    ("sample", "image.size=9", "image.size=9 is not allowed: the prior takes multiples of"),
    ("sample", "operator=downscale operator.factor=4", "operator.factor=4 is not allowed: 2 at image.size=16"),
    ("fit", "dip=skip dip.layers=5", "dip.layers=5 is not allowed: at most 3 with dip=skip at 16x16"),
    ("sample", "objective=[result.stlpips]", "image.size=16 is not allowed: 21 or more for objective=result.stlpips"),
    ("sample", "noise=correlated noise.correlation=2", "noise.correlation=2.0 is not allowed: at most 1 pixels"),
]


@pytest.mark.parametrize(("command", "typed", "message"), REFUSED, ids=[f"{c} {t}" for c, t, _ in REFUSED])
def test_what_cannot_be_run_is_refused(command, typed, message, configure, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        inspect(configure(*typed.split()), command)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_damaged_picture_that_would_be_resized_is_refused(configure, tmp_path):
    picture(tmp_path / "damaged.png", (32, 32))
    mask = Image.new("L", (32, 32), 255)
    mask.paste(0, (0, 0, 5, 5))
    mask.save(tmp_path / "mask.png")
    own = ["noise=none", "operator=mask", f"operator.file={tmp_path}/mask.png", f"image.path={tmp_path}/damaged.png"]
    with pytest.raises(UserError, match="would be resized to 16x16, which mixes missing pixels with known ones"):
        inspect(configure("image=noisy", *own), "sample")
    inspect(configure(*own), "sample")  # a clean one is resized first
    inspect(configure("image=noisy", *own, "image.box=[0,0,16,16]"), "sample")


def test_a_picture_is_decoded_again_only_when_its_file_has_changed(configure, tmp_path, monkeypatch):
    """The command line looks at each job of a sweep, and then each run does."""
    looked, real = [], read.check
    monkeypatch.setattr(read, "check", lambda path, *more: looked.append(path) or real(path, *more))
    c = configure(f"image.path={picture(tmp_path / 'me.png')}")
    inspect(c, "sample")
    inspect(c, "sample", {})
    inspect(configure(f"image.path={tmp_path}/me.png", "seed=1"), "sample")
    assert len(looked) == 1
    inspect(configure(f"image.path={tmp_path}/me.png", "image.box=[0,0,9,9]"), "sample")
    assert len(looked) == 2, "another box is another picture"
    picture(tmp_path / "me.png", (17, 16))
    inspect(c, "sample")
    assert len(looked) == 3


def test_a_store_behind_a_link_that_leads_nowhere_is_refused(configure, tmp_path):
    (tmp_path / "gone").symlink_to("/mnt/nothere")
    for store in ("gone", "gone/fits"):
        with pytest.raises(UserError, match=f"store={tmp_path}/{store} is not allowed: {tmp_path}/gone is no folder"):
            inspect(configure(f"store={tmp_path}/{store}"), "fit")


def test_a_store_whose_name_is_too_long_is_refused(configure):
    with pytest.raises(UserError, match=r"store=x+ is not allowed \(File name too long\)"):
        inspect(configure(f"store={'x' * 300}"), "fit")


def test_a_folder_that_is_closed_is_one_line(configure, tmp_path, monkeypatch):
    def closed(*_):
        raise PermissionError(13, "Permission denied", "fits")

    c = configure()
    monkeypatch.setattr("dipddpm.runs.inspect.Path.is_dir", closed)
    with pytest.raises(UserError, match="a file or folder of the configuration cannot be read: .*Permission denied"):
        inspect(c, "fit")


def test_the_size_of_a_prior_that_is_fetched_is_looked_at_when_it_is_known(configure):
    c = configure("dip=skip", "dip.layers=4")
    inspect_size(c, 64)
    with pytest.raises(UserError, match="at most 3 with dip=skip at 16x16"):
        inspect_size(c, 16)


def test_a_look_needs_no_torch():
    script = "import sys; import dipddpm.runs.inspect; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert told == "False\n"
