"""The prior in the package and its model card: they belong together, and it is as small as it says."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support import ROOT

from dipddpm.diffusion import prior
from dipddpm.diffusion.flops import evaluation_gflop
from dipddpm.diffusion.schedule import to_picture
from dipddpm.metrics.quality import psnr
from dipddpm.pictures.read import load, to_tensor
from prior_training import card, judge
from prior_training.evaluation import errors_by_level, noisy_states
from prior_training.pictures import read

FOLDER = ROOT / "dipddpm" / "assets" / "faces64"
CARD = FOLDER / "README.md"
WEIGHTS = FOLDER / "unet" / "diffusion_pytorch_model.safetensors"


def test_the_card_is_of_the_shipped_weights():
    digest = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    assert re.findall(r"`([0-9a-f]{64})`", CARD.read_text()) == [digest]
    assert json.loads((FOLDER / "evaluation.json").read_text())["sha256"] == digest


def test_the_card_is_what_its_maker_writes():
    """So its numbers are those that were measured; after a change of the template: model_card.py --keep."""
    evaluation = json.loads((FOLDER / "evaluation.json").read_text())
    assert CARD.read_text() == card.embedded(FOLDER, evaluation)
    assert judge.tables(evaluation) in CARD.read_text()


def test_the_shipped_weights_clean_a_face_that_they_have_not_seen():
    """Untrained ones would make it worse."""
    network = prior.load(FOLDER)
    face = (255 * to_tensor(load("astronaut", 64).pixels)).round().to(torch.uint8)
    (row,) = errors_by_level(network.unet, network.schedule, face, (57,))
    ab = network.schedule.alpha_bar(57)
    x0, _, x_t = noisy_states(face, ab, 57)
    assert row["psnr"] > psnr(to_picture(x_t / ab.sqrt()), to_picture(x0)).item() + 9


def test_the_figures_of_the_card_are_those_of_the_weights(shared_data: Path):
    told = {row["level"]: row["psnr"] for row in json.loads((FOLDER / "evaluation.json").read_text())["levels"]}
    network = prior.load(FOLDER)
    held_out = torch.from_numpy(read(shared_data / "faces64-val.tar", 64).pixels)
    (measured,) = errors_by_level(network.unet, network.schedule, held_out, (50,))
    assert measured["psnr"] == pytest.approx(told[50], abs=0.005)


def test_no_weights_are_pickled():
    kinds = {file.suffix for file in FOLDER.rglob("*") if file.is_file()}
    assert kinds <= {".safetensors", ".json", ".md"}
    assert prior.load(FOLDER).unet.num_parameters() == sum(w.numel() for w in load_file(WEIGHTS).values())


def test_the_weights_are_small_and_an_evaluation_cheap():
    assert sum(file.stat().st_size for file in FOLDER.rglob("*.safetensors")) <= 24e6
    cost = evaluation_gflop(prior.load(FOLDER), (64, 64))
    assert cost <= 6
    assert f"| {cost:.2f} |" in CARD.read_text()


def test_numbers_of_other_weights_are_refused(tiny_prior: Path):
    with pytest.raises(ValueError, match="is of other weights than diffusion_pytorch_model.safetensors"):
        card.embedded(tiny_prior, {"sha256": "0" * 64})
