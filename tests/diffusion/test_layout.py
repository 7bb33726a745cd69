"""Folders of priors as people have them: other layouts, other samplers' files, other numbers of levels, odd JSON."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from safetensors.torch import load_file, save_file

from dipddpm import files
from dipddpm.diffusion import folder as prior_folder
from dipddpm.diffusion import layout, prior
from dipddpm.diffusion.flops import evaluation_gflop
from dipddpm.diffusion.pipeline import WindowPipeline
from dipddpm.diffusion.restore import restore
from dipddpm.diffusion.window import Window
from dipddpm.errors import UserError
from dipddpm.fits import FitStore
from dipddpm.runs import commands, fingerprints
from dipddpm.runs.inspect import inspect
from dipddpm.runs.job import Job

STEM = layout.STEM
LINEAR = DDPMScheduler().alphas_cumprod
PICTURE = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def mine(tiny_prior: Path, tmp_path: Path) -> Path:
    """A pipeline folder of the test's own, to change."""
    return Path(shutil.copytree(tiny_prior, tmp_path / "mine"))


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_weights_are_hashed_once_while_they_stay_the_same(mine: Path, monkeypatch: pytest.MonkeyPatch):
    read, real = [], files.sha256
    monkeypatch.setattr(files, "sha256", lambda path: read.append(path.name) or real(path))
    (weights,) = layout.weights_files(mine)
    before = layout.weights_digest(mine)
    assert layout.weights_digest(mine) == before == real(weights) and read == [weights.name]
    changed = weights.stat().st_mtime_ns + 10**9
    weights.write_bytes(weights.read_bytes()[::-1])
    os.utime(weights, ns=(changed, changed))
    assert layout.weights_digest(mine) == real(weights) != before and len(read) == 2


def refused(folder: Path, message: str) -> None:
    """A sample's look and a load refuse the folder, in one line."""
    with pytest.raises(UserError, match=message) as caught:
        prior.load(folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700


def shards(network: Path, unet: Any) -> None:
    (network / f"{STEM}.safetensors").unlink()
    unet.save_pretrained(network, max_shard_size="30KB")


def shards_beside_a_file(network: Path, unet: Any) -> None:
    file = network / f"{STEM}.safetensors"
    unet.save_pretrained(network, max_shard_size="30KB")
    save_file({name: torch.zeros_like(w) for name, w in unet.state_dict().items()}, file, {"format": "pt"})


def half_alone(network: Path, unet: Any) -> None:
    (network / f"{STEM}.safetensors").unlink()
    unet.half().save_pretrained(network, variant="fp16")
    unet.float()


def half_shards(network: Path, unet: Any) -> None:
    (network / f"{STEM}.safetensors").unlink()
    unet.half().save_pretrained(network, variant="fp16", max_shard_size="15KB")
    unet.float()


def half_beside_a_pickle(network: Path, unet: Any) -> None:
    half_alone(network, unet)
    torch.save(load_file(network / f"{STEM}.fp16.safetensors"), network / f"{STEM}.bin")


@pytest.mark.parametrize("make", [shards, shards_beside_a_file, half_alone, half_shards, half_beside_a_pickle])
def test_the_weights_that_diffusers_loads_are_loaded_hashed_and_recorded(mine: Path, make: Any, configure: Any):
    network = mine / "unet"
    saved = UNet2DModel.from_pretrained(network)
    make(network, saved)
    variant = "fp16" if make in (half_alone, half_shards) else None
    theirs: Any = UNet2DModel.from_pretrained(network, variant=variant, torch_dtype=torch.float32)
    loaded = prior.load(mine)
    state = loaded.unet.state_dict()
    assert all(w.equal(state[name]) for name, w in theirs.state_dict().items())
    assert loaded.notes == ((f"the weights are {layout.weights_files(mine)[0].name}",) if variant else ())

    c = configure(f"prior.path={mine}")
    before = fingerprints.of(c, "sample")["prior"]
    held = layout.weights_files(mine)[-1]
    assert held in prior_folder.contents(mine)
    held.write_bytes(held.read_bytes()[:-1] + bytes([held.read_bytes()[-1] ^ 1]))
    assert fingerprints.of(c, "sample")["prior"] != before
    assert prior.load(mine).fingerprint != loaded.fingerprint
    if len(layout.weights_files(mine)) > 1:
        held.unlink()
        refused(mine, f"json: its shard {held.name} is missing; give prior.path=")


def test_a_repository_is_asked_for_the_weights_that_would_be_loaded():
    index = [f"unet/{STEM}.safetensors.index.json", "unet/config.json"]
    some = [f"unet/{STEM}-00001-of-00002.safetensors", f"unet/{STEM}.fp16.safetensors", "vae/x.safetensors"]
    assert prior_folder._weights_patterns({*index, *some}) == [f"unet/{STEM}*-of-*.safetensors"]
    assert prior_folder._weights_patterns({index[1], *some}) == [f"unet/{STEM}.fp16.safetensors"]
    assert prior_folder._weights_patterns({"config.json", f"{STEM}.bin", *some}) == [f"{STEM}.bin"]
    assert prior_folder._weights_patterns({"config.json"}) == []


def test_a_pipeline_over_latents_is_no_prior(mine: Path):
    change(mine / "model_index.json", safety_checker=[None, None], requires_safety_checker=False)
    assert prior.load(mine).notes == ()
    change(mine / "model_index.json", vqvae=["diffusers", "VQModel"])
    for folder in (mine, mine / "unet"):
        refused(
            folder,
            "model_index.json: the pipeline has vqvae beside its network, and must be a DDPM over pixels; give",
        )
        with pytest.raises(UserError, match="has vqvae"):
            layout.sample_size(folder)
    with pytest.raises(ValueError, match="has vqvae beside its network"):
        WindowPipeline.from_pretrained(mine)


@pytest.mark.parametrize("sampler", ["DPMSolverMultistepScheduler", "DEISMultistepScheduler", "PNDMScheduler"])
def test_the_file_of_another_sampler_makes_the_ddpm_that_diffusers_makes_of_it(mine: Path, sampler: str):
    getattr(diffusers, sampler)().save_pretrained(mine / "scheduler")
    loaded = prior.load(mine)
    assert loaded.schedule.alphas_cumprod.equal(LINEAR) and loaded.schedule.variance_type == "fixed_small"
    theirs: Any = DDPMScheduler.from_pretrained(mine / "scheduler")
    assert loaded.clip_sample == theirs.config["clip_sample"]


@pytest.mark.parametrize(
    "values",
    [
        {"_class_name": "UnCLIPScheduler"},  # cosine betas, which its file does not name
        {"_class_name": "FlowMatchEulerDiscreteScheduler"},
        {"_class_name": "ScoreSdeVeScheduler"},
        {"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True},
        {"_class_name": "CogVideoXDDIMScheduler", "snr_shift_scale": 3.0},
    ],
    ids=lambda values: values["_class_name"],
)
def test_a_sampler_of_other_noise_levels_is_refused(mine: Path, values: dict):
    (mine / "scheduler/scheduler_config.json").write_text(json.dumps(values))
    refused(mine, f"{values['_class_name']} does not have the noise levels of a DDPM")


@pytest.mark.parametrize(
    ("values", "T"),
    [
        ({"num_train_timesteps": 100}, 100),
        ({"num_train_timesteps": 4000}, 4000),
        ({"trained_betas": torch.linspace(1e-3, 0.2, 50).tolist()}, 50),
    ],
    ids=["100", "4000", "trained_betas"],
)
def test_a_prior_has_its_own_number_of_levels(mine: Path, values: dict, T: int, configure: Any, capsys: Any):
    change(mine / "scheduler/scheduler_config.json", **values)
    assert layout.levels(mine) == T
    loaded = prior.load(mine)
    assert loaded.schedule.T == T and len(loaded.notes) == ("trained_betas" in values)
    assert restore(loaded, PICTURE, Window(T, steps=2, scheduler="ddim")).picture.isfinite().all()
    last = configure(f"prior.path={mine}", f"ddpm.start_t={T}", "ddpm.steps=2", "checkpoint=none", "baselines=false")
    inspect(last, "sample")
    allowed = f"ddpm.start_t={T + 1} is not allowed: auto or a noise level of this prior, from 1 to {T}"
    with pytest.raises(UserError, match=allowed):
        inspect(configure(f"prior.path={mine}", f"ddpm.start_t={T + 1}"), "sample")
    with pytest.raises(UserError, match=f"ddpm.end_t={T} is not allowed: a noise level from 0 to {T - 1}"):
        inspect(configure(f"prior.path={mine}", "ddpm.start_t=auto", f"ddpm.end_t={T}"), "sample")
    if T == 4000:
        job = Job(mine / "run")
        commands.sample(last, job)
        assert f"the whole chain takes {T}" in capsys.readouterr().out
        assert json.loads((job.folder / "metrics.json").read_text())["prior"]["levels"] == T


def test_a_folder_of_the_hubs_cache_is_its_snapshot(tiny_prior: Path, tmp_path: Path):
    cached = tmp_path / "models--me--faces"
    shutil.copytree(tiny_prior, cached / "snapshots/abc")
    resolved = prior_folder.resolve("", str(cached), None, None)
    assert prior_folder.find(cached) == resolved == cached / "snapshots/abc", "the only one"
    assert prior.load(str(cached)).name == "me/faces"
    shutil.copytree(tiny_prior, cached / "snapshots/def")
    refused(cached, f"type prior.path={cached}/snapshots/<commit>; the commits are: abc, def")
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text("def\n")
    found = [prior_folder.find(place) for place in (cached, tmp_path)]
    assert found == [cached / "snapshots/def"] * 2, "the cache's own folder, too"
    shutil.copytree(tiny_prior, tmp_path / "models--me--cats/snapshots/abc")
    refused(tmp_path, f"is the Hub's cache: type prior.path={tmp_path}/models--<owner>--<name>")


def test_json_with_a_byte_order_mark_is_read(mine: Path):
    for file in mine.rglob("*.json"):
        file.write_text(file.read_text(), encoding="utf-8-sig")
    assert prior.load(mine).sample_size == 16


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"block_out_channels": None}, "block_out_channels=None must be a list of 1 to 15 whole numbers"),
        ({"block_out_channels": 8}, "block_out_channels=8 must be a list"),
        ({"block_out_channels": [8, 16.0]}, r"block_out_channels=\[8, 16.0\] must be a list"),
        ({"block_out_channels": [8] * 10**5}, r"block_out_channels=\[8, 8, 8, 8, 8, 8, \.\.\.\] must be a list"),
        ({"norm_num_groups": -1}, "norm_num_groups=-1 must be a whole number from 1 to 1000000"),
        ({"attention_head_dim": -1}, "attention_head_dim=-1 must be"),
        ({"layers_per_block": 1e6}, "layers_per_block=1000000.0 must be"),
        ({"layers_per_block": "1\n2"}, r"layers_per_block='1\\n2' must be"),
        (
            {"sample_size": "16"},
            "sample_size='16' must be one side in pixels, a whole number up to 16384; write",
        ),
        ({"sample_size": 16.0}, "sample_size=16.0 must be"),
        ({"sample_size": True}, "sample_size=True must be"),
        ({"sample_size": 10**9}, "sample_size=1000000000 must be"),
        ({"time_embedding_type": "fourier"}, "is that of a score-based network, and must be that of a DDPM"),
        ({"_class_name": "A\nB"}, "is a A B, and must be a UNet2DModel"),
    ],
    ids=lambda v: str(v)[:50] if isinstance(v, dict) else "",
)
def test_values_that_no_network_has_are_refused_by_a_look(mine: Path, values: dict, message: str, configure: Any):
    change(mine / "unet/config.json", **values)
    refused(mine, message)
    with pytest.raises(UserError, match=message):
        inspect(configure(f"prior.path={mine}", "image.size=16"), "sample")


@pytest.mark.parametrize("found", ["1000", 0, 1.5, True, 10**12, []])
def test_a_number_of_levels_that_no_prior_has_is_refused(mine: Path, found: Any, configure: Any):
    key = "trained_betas" if isinstance(found, list) else "num_train_timesteps"
    change(mine / "scheduler/scheduler_config.json", **{key: found})
    refused(mine, f"{key}={len(found) if found == [] else repr(found)} must be a whole number from 1 to 100000")
    with pytest.raises(UserError, match="from 1 to 100000"):
        inspect(configure(f"prior.path={mine}"), "sample")


def test_json_too_deep_to_read_is_refused(mine: Path):
    (mine / "unet/config.json").write_text("[" * 10**5)
    refused(mine, r"config.json: the file holds no JSON object \(")


@pytest.mark.parametrize("values", [{"layers_per_block": 10**6}, {"block_out_channels": [8, 10**6]}])
def test_a_network_that_its_weights_cannot_fill_is_refused_before_it_is_built(
    mine: Path, values: dict, configure: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(prior, "empty_network", lambda *_: pytest.fail("the network was built"))
    change(mine / "unet/config.json", **values)
    refused(mine, "the network of config.json takes .* MB of memory or more, and the weights have 0.2 MB; give")
    with pytest.raises(UserError, match="MB of memory or more"):
        inspect(configure(f"prior.path={mine}"), "sample")
    inspect(configure(f"prior.path={mine}"), "fit")  # which builds no such network


def test_the_least_memory_is_less_than_that_of_real_networks(tiny_prior: Path):
    """The shipped network, and one of the narrowest: neither is refused when its weights are in half precision."""
    for folder in (tiny_prior, prior_folder.ASSETS / "faces64"):
        config = layout.network_config(folder)
        unet = prior.empty_network(UNet2DModel, config)
        least = 36 * config["layers_per_block"] * sum(c**2 for c in config["block_out_channels"])
        assert 0.2 < least / sum(p.numel() for p in unet.parameters()) < 1


def test_a_pointer_is_not_taken_for_weights(mine: Path):
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 454741108\n"
    (mine / f"unet/{STEM}.safetensors").write_text(text)
    refused(mine, "is a pointer of Git LFS, not the weights; type git lfs pull there")


def test_keys_that_this_diffusers_does_not_know_change_nothing(mine: Path, tiny_prior: Path):
    change(mine / "unet/config.json", new_in_some_other_version=[1, 2])
    assert evaluation_gflop(prior.load(mine), (16, 16)) == evaluation_gflop(prior.load(tiny_prior), (16, 16))


def test_a_name_that_is_a_path_is_not_looked_for_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # an import of it would fail
    for name in (Path("gone"), "./gone", "/nowhere/gone", "~/gone", "runs/gone", "a/b/c"):
        with pytest.raises(UserError, match=f"prior.path={name}: no such folder; give prior.path="):
            prior.load_prior(name)


def test_a_name_of_the_hub_is_said_to_be_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    said = "there is no folder me/faces and no prior me/faces in the package; prior.repo=me/faces: not in the Hugging"
    with pytest.raises(UserError, match=said):
        prior.load_prior("me/faces")


@pytest.mark.parametrize(
    ("key", "factor", "config", "message"),
    [
        ("conv_out.weight", float("nan"), {}, "the prior's output at noise level 1000 is not finite"),
        ("conv_out.weight", 1e38, {}, "is not finite, or beyond 1,000,000: its weights are damaged; give prior.path="),
        ("conv_in.weight", float("inf"), {}, "at noise level 1000 is not finite"),
        ("conv_in.weight", 1, {"mid_block_scale_factor": "1"}, r"the network cannot be evaluated \(TypeError"),
    ],
    ids=["nan", "huge", "inf", "words"],
)
def test_a_network_that_gives_no_numbers_is_refused_before_the_fit(
    mine: Path, key: str, factor: float, config: dict, message: str, configure: Any, tmp_path: Path
):  # fmt: skip
    file = mine / f"unet/{STEM}.safetensors"
    state = load_file(file)
    save_file({**state, key: state[key] * factor}, file, {"format": "pt"})
    change(mine / "unet/config.json", **config)
    with pytest.raises(UserError, match=message) as caught:
        commands.sample(configure(f"prior.path={mine}"), Job(tmp_path / "run"))
    assert "\n" not in str(caught.value)
    assert not list(FitStore(tmp_path / "fits").keys()) and not (tmp_path / "run/result.png").exists()
