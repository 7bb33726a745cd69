"""The prior in the package and its model card: they belong together, and it is as small as it says."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tarfile
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file
from support import ROOT

from dipddpm import files
from dipddpm.diffusion import prior
from dipddpm.diffusion.arithmetic import evaluation_gflop
from dipddpm.diffusion.schedule import to_picture
from dipddpm.metrics.quality import psnr
from dipddpm.pictures import read, write
from scripts import eval_prior, half_precision, model_card, training_stages
from scripts.faces import read_faces
from scripts.one_evaluation import errors_by_level, noisy_states
from scripts.train_prior_config import DEFAULTS

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
    assert CARD.read_text() == model_card.card(FOLDER, evaluation)
    assert eval_prior.tables(evaluation) in CARD.read_text()


def test_the_shipped_weights_clean_a_face_that_they_have_not_seen():
    """Untrained ones would make it worse."""
    network = prior.load(FOLDER)
    face = (255 * read.to_tensor(read.load("astronaut", 64).pixels)).round().to(torch.uint8)
    ab = network.schedule.alphas_cumprod
    ((_, _, cleaned),) = errors_by_level(network.unet, ab, face, (57,))
    x0, _, x_t = noisy_states(face, ab[56], 57)
    assert cleaned > psnr(to_picture(x_t / ab[56].sqrt()), to_picture(x0)).item() + 9


def test_the_figures_of_the_card_are_those_of_the_weights(shared_data: Path):
    told = {row["level"]: row["psnr"] for row in json.loads((FOLDER / "evaluation.json").read_text())["levels"]}
    network = prior.load(FOLDER)
    held_out = read_faces(shared_data / "faces64-val.tar")
    ((_, _, measured),) = errors_by_level(network.unet, network.schedule.alphas_cumprod, held_out, (50,))
    assert measured == pytest.approx(told[50], abs=0.005)


def test_no_weights_are_pickled():
    kinds = {file.suffix for file in FOLDER.rglob("*") if file.is_file()}
    assert kinds <= {".safetensors", ".json", ".md"}
    assert prior.load(FOLDER).parameters == sum(w.numel() for w in load_file(WEIGHTS).values())


def test_the_weights_are_small_and_an_evaluation_cheap():
    assert sum(file.stat().st_size for file in FOLDER.rglob("*.safetensors")) <= 24e6
    cost = evaluation_gflop(prior.load(FOLDER), (64, 64))
    assert cost <= 6
    assert f"| {cost:.2f} |" in CARD.read_text()


@pytest.fixture
def copy(tiny_prior: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_prior, tmp_path / "copy"))


def test_half_precision_is_stored_if_nothing_moves_and_computed_in_float32(copy: Path):
    file = copy / "unet" / WEIGHTS.name
    pictures = torch.randint(0, 256, (3, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    before, full = file.read_bytes(), load_file(file)
    assert half_precision.describe_precision(copy) == "float32"
    with pytest.raises(ValueError, match="half precision moves the PSNR by .* kept as it was"):
        half_precision.store_half(copy, pictures, most=0)
    assert file.read_bytes() == before
    change = half_precision.store_half(copy, pictures)
    assert 0 < change < 0.005 and file.stat().st_size < 0.75 * len(before)
    stored = load_file(file)
    assert {key for key, w in stored.items() if w.dtype == torch.float32} == {
        key for key, w in full.items() if w.ndim < 2 or key.startswith(("up_blocks.1.", "conv_out."))
    }
    for key, weight in prior.load(copy).unet.state_dict().items():
        assert weight.dtype == torch.float32 and weight.equal(stored[key].float())
        assert weight.equal(full[key] if stored[key].dtype == torch.float32 else full[key].half().float())
    text = half_precision.describe_precision(copy)
    assert text.startswith("float16 and float32; ") and f"at most {change:.2g} dB" in text and "(3 faces)" in text
    halved = file.read_bytes()
    assert half_precision.store_half(copy, pictures) == float(f"{change:.2g}"), "rounded once, and that is still told"
    assert file.read_bytes() == halved


def test_numbers_of_other_weights_are_refused(copy: Path):
    with pytest.raises(ValueError, match="is of other weights than diffusion_pytorch_model.safetensors"):
        model_card.card(copy, {"sha256": "0" * 64})


def stage(**settings) -> training_stages.Stage:
    defaults = OmegaConf.to_container(OmegaConf.load(DEFAULTS))
    assert isinstance(defaults, dict)
    settings = defaults | {"pictures": 300} | settings
    return {"pictures": 300, "seconds": 40, "precision": "fp32", "hardware": "x", "settings": settings}


def test_a_stage_is_what_a_training_recorded_without_the_machines_paths(tmp_path: Path):
    record = stage(out=str(tmp_path), init_from=str(tmp_path), data=str(tmp_path), lr=1e-3) | {"seconds": 12.6}
    (tmp_path / "training.json").write_text(json.dumps(record))
    read = training_stages.read(tmp_path, "two cores")
    assert str(tmp_path) not in json.dumps(read)
    assert (read["pictures"], read["seconds"], read["hardware"], read["settings"]["lr"]) == (300, 13, "two cores", 1e-3)


def test_a_training_whose_settings_changed_on_the_way_is_told_run_by_run(tmp_path: Path):
    first, again, last = stage(lr=1e-3), stage(lr=1e-3, threads=2), stage(lr=2e-3) | {"precision": "bf16"}
    record = last | {"before": [first | {"pictures": 100}, again | {"pictures": 200}]}
    (tmp_path / "training.json").write_text(json.dumps(record))
    stages = [stage(), training_stages.read(tmp_path, "two cores")]
    assert "| 300 | 40 | two cores, fp32, then bf16 | muon, 0.001, then 0.002, 16 |" in training_stages.table(stages)
    _, one, two = training_stages.commands(stages)
    same = "python scripts/train_prior.py data=../shared/data out=outputs/prior/stage2 init_from=outputs/prior/stage1"
    assert one == f"{same} pictures=300 lr=0.001  # stopped at 200" and two == f"{same} pictures=300 lr=0.002"
    elsewhere = last | {"before": [last | {"precision": "fp32", "pictures": 100}]}
    (tmp_path / "training.json").write_text(json.dumps(elsewhere))
    assert "two cores, fp32, then bf16 |" in training_stages.table([training_stages.read(tmp_path, "two cores")])


def test_a_stage_after_a_pruned_one_begins_with_the_pruned_network():
    first, pruning, second = training_stages.commands([stage() | {"pruned": True}, stage()])
    assert first.endswith("out=outputs/prior/stage1 pictures=300")
    assert pruning == "python scripts/prune.py outputs/prior/stage1 outputs/prior/stage1-pruned"
    assert " init_from=outputs/prior/stage1-pruned " in second


def test_the_stages_are_summed_and_their_commands_repeat_them():
    unet = stage()["settings"]["unet"] | {"channels": [8, 16]}
    stages = [stage(lognormal_share=0.0, level_power=1.5, unet=unet), stage(lr=1e-3, pictures=400)]
    lines = training_stages.table(stages).splitlines()
    assert lines[-1].startswith("| all | 600 | 80 |")
    assert lines[2].endswith("| T u^1.5 |") and lines[3].endswith("| 75% log-normal (-0.6, 1.4), others uniform |")
    one, two = training_stages.commands(stages)
    words = "out=outputs/prior/stage1 pictures=300 lognormal_share=0.0 level_power=1.5 unet.channels=[8,16]"
    assert set(one.split()) == {"python", "scripts/train_prior.py", "data=../shared/data", *words.split()}
    assert two.endswith(
        "out=outputs/prior/stage2 init_from=outputs/prior/stage1 pictures=400 lr=0.001  # stopped at 300"
    )


def test_a_training_from_random_weights_is_the_first_stage(tmp_path: Path):
    for init_from, count in (("elsewhere", 2), (None, 1)):
        (tmp_path / "training.json").write_text(json.dumps(stage(init_from=init_from)))
        assert len(training_stages.after([stage()], tmp_path, "x")) == count


def test_a_card_is_written_once_for_each_stage_and_again_from_its_numbers(copy: Path, tmp_path, monkeypatch, capsys):
    faces = tmp_path / "faces64-val.tar"
    with tarfile.open(faces, "w") as tar:
        for i in range(2):
            file = tmp_path / f"{i}.png"
            write.save(file, torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(i)))
            tar.add(file, f"face/{i}.webp")
    (tmp_path / "training.json").write_text(json.dumps(stage(init_from=None)))
    told = [f"--stage={tmp_path}", "--hardware=one core"]

    def run(*more: str) -> tuple[str, bytes]:
        monkeypatch.setattr(
            "sys.argv", ["model_card.py", f"--prior={copy}", f"--data={faces}", "--denoisers-limit=0", *more]
        )
        model_card.main()
        return (copy / "README.md").read_text(), (copy / "unet" / WEIGHTS.name).read_bytes()

    card, weights = run("--fp16", *told)
    assert "| 1 | 300 | 40 | one core, fp32 |" in card and "weights in float16 and float32; rounding them" in card
    assert hashlib.sha256(weights).hexdigest() in card
    with pytest.raises(SystemExit):
        run(*told)
    assert "is of these weights, so their stage is told: leave out --stage" in capsys.readouterr().err
    assert run("--fp16") == run("--keep") == (card, weights)


def test_weights_trained_further_need_their_stage(copy: Path, monkeypatch, capsys):
    files.write_json(copy / "evaluation.json", {"sha256": "0" * 64, "training": {"stages": [], "limits": {}}})
    monkeypatch.setattr("sys.argv", ["model_card.py", f"--prior={copy}"])
    with pytest.raises(SystemExit) as left:
        model_card.main()
    assert left.value.code == 2 and "type --stage <out of their training>" in capsys.readouterr().err
