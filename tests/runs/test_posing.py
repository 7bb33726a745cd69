"""From the configuration to the problem, and to the request whose hash is the key of a fit."""

import numpy as np
import pytest
import torch
from PIL import Image

from dipddpm.degradation.masks import Mask
from dipddpm.degradation.noise import Poisson
from dipddpm.degradation.problem import Problem, degrade
from dipddpm.degradation.scaling import Downscale
from dipddpm.pictures.read import load, read_picture
from dipddpm.runs.posing import _noisier_part, problem_of
from dipddpm.runs.starts import wanted_fit

SIZE = "image.size=16"


@pytest.fixture
def mine(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "mine.png")
    mask = np.full((16, 16), 255, np.uint8)
    mask[2:5, 3:9] = 0
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return [f"image.path={tmp_path}/mine.png", SIZE]


def test_a_run_and_a_call_from_python_damage_a_picture_alike(configure, mine, tmp_path):
    picture = read_picture(tmp_path / "mine.png", 16)
    ran = problem_of(configure(*mine, "noise=poisson", "operator=mask", "operator.missing=0.3", "seed=4"), None)
    called = degrade(picture, Poisson(25), Mask(0.3), seed=4)
    assert torch.equal(ran.noisy, called.noisy) and ran.content == called.content
    ran = problem_of(configure("image=noisy", *mine, "noise.sigma=12"), None)
    assert torch.equal(ran.noisy, Problem(picture, 12.0).noisy) and ran.content == Problem(picture).content
    small = ["operator=downscale", "operator.factor=2", "noise=none", "image.size=32"]
    ran = problem_of(configure("image=noisy", *mine[:1], *small), None)
    assert torch.equal(ran.noisy, Problem(picture, 0.0, operator=Downscale(2)).noisy) and ran.sigma == 0


def test_where_resizing_averaged_the_noise_away_a_box_at_full_resolution_is_named(configure, tmp_path, caplog):
    """The box that is named has the noise that is named, in a wide picture and inside another box."""
    draw, file = np.random.default_rng(0), tmp_path / "phone.png"
    grey = np.linspace(80, 170, 500)[None, :, None] + 30 * draw.standard_normal((400, 500, 3))
    Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(file)
    for more, box in (([], [242, 192, 258, 208]), (["image.box=[100,50,401,350]"], [242, 192, 258, 208])):
        caplog.clear()
        averaged = problem_of(configure("image=noisy", f"image.path={file}", SIZE, *more), None)
        assert averaged.sigma < 5
        (said,) = [r.getMessage() for r in caplog.records if "hardly any noise" in r.getMessage()]
        typed = said.rpartition("type ")[2]
        assert typed == f"image.box=[{','.join(map(str, box))}]" and "because resizing from" in said
        caplog.clear()
        sharp = problem_of(configure("image=noisy", f"image.path={file}", SIZE, typed), None)
        assert f"where sigma is {sharp.sigma:.1f}, type" in said and 20 < sharp.sigma < 40
        assert "hardly any noise" not in caplog.text
    Image.fromarray(np.full((400, 500, 3), 90, np.uint8)).save(file)
    clean = Image.open(file)
    clean.putpixel((40, 40), (91, 91, 91))
    clean.save(file)
    assert _noisier_part(configure("image=noisy", f"image.path={file}"), load(str(file), 16)) is None


KEYED = [  # as stored fits have it, since the first version
    ("", {"kind": "gaussian", "sigma": 25.0}),
    ("noise=poisson noise.sigma=10", {"kind": "poisson", "sigma": 10.0}),
    ("noise=impulse", {"kind": "impulse", "sigma": 25.0}),
    ("noise=correlated noise.correlation=0.5", {"kind": "gaussian", "sigma": 25.0, "correlation": 0.5}),
    ("noise=none operator=downscale operator.factor=2", {"kind": "gaussian", "sigma": 0.0, "downscale": 2}),
    ("noise.sigma=5 operator=mask operator.file=MASK", {"kind": "gaussian", "sigma": 5.0, "mask": "HASH"}),
    ("image=noisy", {"kind": "none"}),
    ("image=noisy noise.sigma=25", {"kind": "none"}),
    ("image=noisy noise=none operator=mask operator.file=MASK", {"kind": "none", "mask": "HASH"}),
    ("image=noisy image.reference=MINE", {"kind": "none", "reference": "HASH"}),
]


@pytest.mark.parametrize(("typed", "keyed"), KEYED, ids=[typed for typed, _ in KEYED])
def test_the_key_of_a_fit_stays_what_it_was(typed, keyed, configure, mine, tmp_path):
    typed = typed.replace("MASK", f"{tmp_path}/mask.png").replace("MINE", f"{tmp_path}/mine.png").split()
    c = configure(*mine, *typed)
    request = wanted_fit(c, problem_of(c, None)).request
    told = request["degrade"]
    for name in ("mask", "reference"):
        if name in told:
            assert len(told[name]) == 16
            told = told | {name: "HASH"}
    assert told == keyed
    assert list(request) == ["version", "pixels", "size", "degrade", "dip", "seed"]
    assert type(told.get("sigma", 0.0)) is float, "25 and 25.0 hash apart"
