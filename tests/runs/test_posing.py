"""From the configuration to the problem, and to the request whose hash is the key of a fit."""

import numpy as np
import pytest
import torch
from PIL import Image

from dipddpm.degradation.noise import Poisson
from dipddpm.degradation.operators import Downscale, Mask
from dipddpm.degradation.problem import Problem, degrade
from dipddpm.pictures.read import read_picture
from dipddpm.runs.posing import fit_request, problem_of

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
    request = fit_request(c, problem_of(c, None))
    told = request["degrade"]
    for name in ("mask", "reference"):
        if name in told:
            assert len(told[name]) == 16
            told = told | {name: "HASH"}
    assert told == keyed
    assert list(request) == ["version", "pixels", "size", "degrade", "dip", "seed"]
    assert type(told.get("sigma", 0.0)) is float, "25 and 25.0 hash apart"
