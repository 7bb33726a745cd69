"""Priors: every kind of folder, the Hub without a network, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from safetensors.torch import load_file, save_file

from dipddpm import environment
from dipddpm.diffusion import folder as prior_folder
from dipddpm.diffusion import layout, lean, prior
from dipddpm.diffusion.lean import lighten
from dipddpm.errors import UserError
from dipddpm.ownership import claim
from scripts.random_prior import ARCHITECTURE, write_prior

_, SAFETENSORS, BIN, _ = layout.weights_names()
COMMIT = "cd5c944777ea2668051904ead6cc120739b86c4d"
LINEAR = DDPMScheduler().alphas_cumprod


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A tiny random prior as DDPMPipeline.save_pretrained writes it, and its network in memory."""
    folder = tmp_path_factory.mktemp("priors") / "tiny"
    unet: Any = write_prior(folder, tiny=True)
    unet.eval().to(memory_format=torch.channels_last)
    unet.requires_grad_(False)  # CPU kernels chosen by this differ in the last bit
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output = unet(x.contiguous(memory_format=torch.channels_last), 56).sample
    return SimpleNamespace(folder=folder, unet=unet, x=x, output=output)


@pytest.fixture
def copy(written: SimpleNamespace, tmp_path: Path) -> Path:
    """A pipeline folder of the test's own, to change."""
    return Path(shutil.copytree(written.folder, tmp_path / "copy"))


def to_root(folder: Path) -> None:
    """Turn a pipeline folder into google/ddpm-celebahq-256's layout."""
    for file in [*(folder / "unet").iterdir(), *(folder / "scheduler").iterdir()]:
        file.rename(folder / file.name)
    (folder / "unet").rmdir()
    (folder / "scheduler").rmdir()


def rename_attention(folder: Path) -> None:
    """Give attention weights the names that google/ddpm-celebahq-256 has them under."""
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    file = folder / "unet" / SAFETENSORS
    state = load_file(file)
    for new_name, old_name in old.items():
        state = {key.replace(f".{new_name}.", f".{old_name}."): w for key, w in state.items()}
    assert sum("proj_attn" in key for key in state) == 2 * 6  # down 2, middle 1, up 3
    save_file(state, file, {"format": "pt"})


def to_bin(folder: Path) -> None:
    torch.save(load_file(folder / "unet" / SAFETENSORS), folder / "unet" / BIN)
    (folder / "unet" / SAFETENSORS).unlink()


def without_scheduler(folder: Path) -> None:
    shutil.rmtree(folder / "scheduler")
    (folder / "model_index.json").unlink()


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(
    "changes",
    [
        [],
        [to_root],
        [rename_attention],
        [to_bin],
        [without_scheduler],
        [rename_attention, to_bin, to_root],
    ],
    ids=lambda changes: "+".join(c.__name__ for c in changes) or "pipeline",
)
def test_every_kind_of_folder_gives_the_network_that_was_saved(written: SimpleNamespace, copy: Path, changes: list):
    for make in changes:
        make(copy)
    loaded = prior.load(prior_folder.resolve("faces64", str(copy), None, None))
    with torch.no_grad():
        assert loaded.evaluate(written.x, torch.tensor(56)).sample.equal(written.output)
    assert loaded.schedule.alphas_cumprod.equal(LINEAR)
    assert (loaded.prediction_type, loaded.clip_sample) == ("epsilon", True)
    assert (loaded.sample_size, loaded.name) == (64, "copy")
    assert loaded.notes == ((prior.ASSUMED,) if without_scheduler in changes else ())
    weights = next(f for f in copy.rglob("diffusion_pytorch_model.*"))
    assert loaded.fingerprint == hashlib.sha256(weights.read_bytes()).hexdigest()[:16]


def test_a_networks_own_folder_takes_the_scheduler_of_its_pipeline(copy: Path, tmp_path: Path):
    change(copy / "scheduler/scheduler_config.json", beta_end=0.03)
    loaded = prior.load(copy / "unet")
    assert loaded.notes == () and not loaded.schedule.alphas_cumprod.equal(LINEAR)
    assert copy / "scheduler/scheduler_config.json" in prior_folder.contents(copy / "unet")
    (tmp_path / "link").symlink_to(copy / "unet")
    assert prior_folder.contents(tmp_path / "link")[1] == copy / "scheduler/scheduler_config.json"
    alone = prior.load(str(shutil.move(copy / "unet", tmp_path / "alone" / "unet")))
    assert alone.notes == (prior.ASSUMED,) and alone.schedule.alphas_cumprod.equal(LINEAR)


def test_half_precision_files_are_computed_in_float32(copy: Path):
    file = copy / "unet" / SAFETENSORS
    half = {key: w.half() for key, w in load_file(file).items()}
    save_file(half, file, {"format": "pt"})
    loaded = prior.load(copy)
    for key, weight in loaded.unet.state_dict().items():
        assert weight.dtype == torch.float32 and weight.equal(half[key].float())


def test_bf16_is_near_and_a_loaded_network_is_frozen(written: SimpleNamespace):
    loaded = prior.load(written.folder, precision="bf16")
    output = loaded.evaluate(written.x, torch.tensor(56)).sample
    assert output.dtype == torch.bfloat16 and not output.requires_grad
    assert {w.dtype for w in loaded.unet.parameters()} == {torch.bfloat16} and not loaded.unet.training
    assert 0 < (output - written.output).abs().mean() < 0.02 * written.output.abs().mean()


def test_auto_is_the_precision_of_the_device(written: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    for has, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(environment, "has_bf16", lambda _, has=has: has)
        assert prior.load_prior(written.folder, device="cpu").unet.dtype == dtype


def test_a_loaded_network_does_not_depend_on_its_file_any_more(written: SimpleNamespace, copy: Path):
    loaded = prior.load(copy)
    for file in copy.rglob("*.safetensors"):
        file.write_bytes(bytes(file.stat().st_size))
    with torch.no_grad():
        assert loaded.evaluate(written.x, torch.tensor(56)).sample.equal(written.output)


def test_tf32_is_on_in_an_evaluation_alone(written: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    seen, before = [], torch.backends.cudnn.allow_tf32
    for precision in ("tf32", "fp32"):
        loaded = prior.load(written.folder, precision=precision)
        loaded.unet.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
        loaded.evaluate(written.x, torch.tensor(56))
        assert torch.backends.cudnn.allow_tf32 == before
    assert seen == [True, False]


def test_the_precision_is_that_of_the_prior_in_a_callers_autocast(written: SimpleNamespace):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert prior.load(written.folder).evaluate(written.x, torch.tensor(56)).sample.equal(written.output)


def test_blocks_that_write_into_their_results_give_diffusers_bits(written: SimpleNamespace):
    unet = prior.load(written.folder).unet
    x = written.x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert unet(x, 56).sample.equal(written.output)
    light = [block for block in unet.modules() if isinstance(block, ResnetBlock2D)]
    assert light and all("forward" in vars(block) for block in light)
    x.requires_grad_()  # with a gradient the blocks are diffusers' own
    (slope,) = torch.autograd.grad(unet(x, 56).sample.square().sum(), x)
    (wanted,) = torch.autograd.grad(written.unet(x, 56).sample.square().sum(), x)
    assert slope.equal(wanted) and slope.any()
    scaled, temb = ResnetBlock2D(in_channels=32, output_scale_factor=2.0, temb_channels=8).eval(), torch.randn(1, 8)
    given = torch.randn(1, 32, 5, 7)
    with torch.no_grad():
        wanted = scaled(given, temb)
        lighten(scaled)
        assert scaled(given, temb).equal(wanted)
    other = ResnetBlock2D(in_channels=32, temb_channels=8, down=True)
    lighten(other)
    assert "forward" not in vars(other)


def test_the_schedule_comes_from_the_folder(copy: Path):
    values = {"beta_end": 0.03, "prediction_type": "v_prediction", "clip_sample": False}
    change(copy / "scheduler/scheduler_config.json", variance_type="fixed_large", **values)
    loaded = prior.load(copy)
    expected = DDPMScheduler(beta_end=0.03).alphas_cumprod
    assert loaded.schedule.alphas_cumprod.equal(expected) and not expected.equal(LINEAR)
    assert loaded.schedule.variance_type == "fixed_large"
    assert (loaded.prediction_type, loaded.clip_sample) == ("v_prediction", False)


def test_a_damaged_file_is_refused(copy: Path):
    file = copy / "unet" / SAFETENSORS
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"safetensors: the weights cannot be loaded \(.*; give prior.path="):
        prior.load(copy)


def test_weights_that_do_not_fit_the_config_are_refused(copy: Path):
    """diffusers only logs an absent weight, and leaves uninitialised memory in its place."""
    file = copy / "unet" / SAFETENSORS
    state = load_file(file)
    renamed = {("stray" if key == "conv_out.bias" else key): w for key, w in state.items()}
    save_file(renamed, file, {"format": "pt"})
    with pytest.raises(UserError, match=r"\(1 missing, such as conv_out.bias, 1 unexpected, such as stray\)"):
        prior.load(copy)
    for other in (torch.zeros(4), torch.zeros(3, dtype=torch.int8)):
        save_file({**state, "conv_out.bias": other}, file, {"format": "pt"})
        with pytest.raises(UserError, match=r"do not fit .*\(1 of another shape or type, such as conv_out.bias\)"):
            prior.load(copy)


def test_a_pickle_is_not_executed(copy: Path):
    (copy / "unet" / SAFETENSORS).unlink()
    torch.save({"conv_in.weight": Path("code"), "more": torch.zeros(10**6)}, copy / "unet" / BIN)
    with pytest.raises(UserError, match="bin: the weights cannot be loaded"):
        prior.load(copy)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"_class_name": "UNet2DConditionModel"},
            "is a UNet2DConditionModel, and must be a UNet2DModel",
        ),
        ({"num_class_embeds": 10}, "is class-conditional"),
        ({"out_channels": 6}, r"out_channels=6 must be 3 \(RGB\)"),
        ({"in_channels": 1}, "in_channels=1"),
        ({"sample_size": None}, "sample_size=None must be one side in pixels"),
        ({"sample_size": [64, 48]}, r"sample_size=\[64, 48\]"),
    ],
)
def test_a_network_of_another_kind_is_refused_by_its_config(copy: Path, values: dict, message: str):
    change(copy / "unet/config.json", **values)
    with pytest.raises(UserError, match=message):
        layout.sample_size(copy)
    with pytest.raises(UserError, match=message):
        prior.load(copy)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"variance_type": "learned_range"}, "variance_type='learned_range'"),
        ({"prediction_type": "flow"}, "prediction_type=flow"),
        ({"thresholding": True}, "thresholding"),
        ({"clip_sample_range": 2.0}, "clip_sample_range"),
        ({"rescale_betas_zero_snr": True}, r"inside \(0, 1\)"),
        ({"beta_schedule": "unheard"}, "unheard"),
    ],
)
def test_a_scheduler_that_is_not_supported_is_refused(copy: Path, values: dict, message: str):
    change(copy / "scheduler/scheduler_config.json", **values)
    with pytest.raises(UserError, match=rf"scheduler_config.json: the scheduler cannot be used \(.*{message}"):
        prior.load(copy)


def test_precision_is_checked(written: SimpleNamespace):
    with pytest.raises(ValueError, match="precision='fp16': must be fp32, tf32 or bf16"):
        prior.load(written.folder, precision="fp16")


def test_folders_that_hold_no_prior_are_refused(copy: Path, tmp_path: Path):
    def refused(message: str, path: Path, **options: bool) -> None:
        with pytest.raises(UserError, match=message) as caught:
            prior_folder.resolve("faces64", str(path), None, None, **options)
        assert "\n" not in str(caught.value)

    refused("absent: no such folder; give prior.path=", tmp_path / "absent")
    refused("has neither unet/config.json nor config.json", tmp_path)
    (tmp_path / "mine/training").mkdir(parents=True)
    refused("has neither unet/config.json nor config.json", tmp_path / "mine")  # a folder of anything
    claim(tmp_path / "mine", ["model_index.json"], "", lock="training")  # by prior_training
    refused("its training has not ended; type its train_prior.py command again", tmp_path / "mine")
    (copy / "unet" / SAFETENSORS).unlink()
    refused("the folder has no diffusion_pytorch_model.safetensors", copy)
    assert layout.sample_size(prior_folder.resolve("x", str(copy), None, None, config_only=True)) == 64
    (copy / "unet/config.json").write_text("[64]")
    with pytest.raises(UserError, match=r"no JSON object \(ValueError: holds a list\)"):
        layout.sample_size(copy)


def test_the_package_comes_before_the_hub(copy: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prior_folder, "ASSETS", copy.parent)
    assert prior_folder.resolve("copy", None, None, None) == copy
    with pytest.raises(
        UserError, match="prior.repo=owner/x would not be used, because prior.name=copy is in the package"
    ):
        prior_folder.resolve("copy", None, "owner/x", None)
    assert prior_folder.resolve("copy", str(copy), "owner/x", None) == copy, "a folder comes first"
    with pytest.raises(UserError, match="prior.name=other: not in the package, and no prior.repo"):
        prior_folder.resolve("other", None, None, None)


@pytest.fixture
def hub(copy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[Path, list[str]]]:
    """A Hub on this machine that serves ``copy`` as google/x; returns it and the files fetched."""
    fetched: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            route = self.path.partition("?")[0]
            files = sorted(f for f in copy.rglob("*") if f.is_file())
            names = [f.relative_to(copy).as_posix() for f in files]
            if route.split("/revision/")[0] == "/api/models/google/x":
                siblings = [{"rfilename": name} for name in names]
                body = json.dumps({"id": "google/x", "sha": COMMIT, "siblings": siblings}).encode()
            elif route.startswith("/api/models/google/x/tree/"):
                sizes = [f.stat().st_size for f in files]
                rows = zip(names, sizes, strict=True)
                tree = [{"type": "file", "path": n, "size": s, "oid": n} for n, s in rows]
                body = json.dumps(tree).encode()
            else:
                name = route.removeprefix(f"/google/x/resolve/{COMMIT}/")
                if name not in names:
                    return self.send_error(404)
                body = (copy / name).read_bytes()
                if self.command == "GET":
                    fetched.append(name)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", hashlib.sha256(route.encode()).hexdigest())
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    constants = huggingface_hub.constants
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        endpoint + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield copy, fetched
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("revision", [None, COMMIT])
def test_the_hub_is_asked_for_what_is_needed_and_once(hub: tuple[Path, list[str]], revision: str | None):
    source, fetched = hub
    (source / "unet" / BIN).write_bytes(b"the same weights again, not to be fetched")
    arguments = ("celebahq256", None, "google/x", revision)
    folder = prior_folder.resolve(*arguments, config_only=True)
    assert layout.sample_size(folder) == 64
    assert len(fetched) == 3 and all(name.endswith(".json") for name in fetched)
    assert prior.load(prior_folder.resolve(*arguments)).name == "google/x"
    assert fetched[3:] == [f"unet/{SAFETENSORS}"]
    assert prior_folder.resolve(*arguments) == folder and len(fetched) == 4  # from the cache


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A Hub that refuses connections, and an empty cache; returns the cache."""
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail(f"waited {seconds} s to retry"))
    return tmp_path / "hub"


@pytest.mark.parametrize("revision", [None, COMMIT])
@pytest.mark.parametrize("config_only", [True, False])
def test_offline_ends_in_one_line_at_once(no_hub: Path, revision: str | None, config_only: bool):
    with pytest.raises(UserError) as caught:
        prior_folder.resolve("celebahq256", None, "google/x", revision, config_only=config_only)
    message = str(caught.value)
    assert message.startswith("prior.repo=google/x: not in the Hugging Face cache") and (
        "ConnectError" in message and "\n" not in message
    )
    assert message.endswith("give prior.path=<folder written by DDPMPipeline.save_pretrained>")


def test_what_the_cache_holds_needs_no_hub(no_hub: Path, copy: Path):
    to_root(copy)
    snapshot = no_hub / "models--google--x" / "snapshots" / COMMIT
    shutil.copytree(copy, snapshot)
    folder = prior_folder.resolve("celebahq256", None, "google/x", COMMIT)
    assert folder == snapshot and prior.load(folder).name == "google/x"
    assert prior_folder.commit("google/x", COMMIT) == COMMIT and prior_folder.commit("google/x", "main") == "main"
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(COMMIT)
    assert prior_folder.commit("google/x", "main") == prior_folder.commit("google/x", None) == COMMIT
    # A cache that DIP training alone has filled knows the size, and has no weights.
    (snapshot / SAFETENSORS).unlink()
    folder = prior_folder.resolve("celebahq256", None, "google/x", COMMIT, config_only=True)
    assert layout.sample_size(folder) == 64
    with pytest.raises(UserError, match="not in the Hugging Face cache"):
        prior_folder.resolve("celebahq256", None, "google/x", COMMIT)


def test_the_random_prior_has_the_size_of_the_original():
    with torch.device("meta"):
        unet = UNet2DModel(**ARCHITECTURE)
    assert unet.num_parameters() == 113_673_219


def test_the_tiny_random_prior_has_the_same_blocks_and_depends_on_its_seed(written: SimpleNamespace, tmp_path: Path):
    keys = ("down_block_types", "up_block_types", "layers_per_block", "attention_head_dim")
    assert all(written.unet.config[k] == ARCHITECTURE[k] for k in keys)
    again = write_prior(tmp_path / "again", tiny=True).state_dict()
    other = write_prior(tmp_path / "other", tiny=True, seed=1).state_dict()
    saved = written.unet.state_dict()
    assert all(w.equal(saved[key]) for key, w in again.items())
    assert not other["conv_in.weight"].equal(saved["conv_in.weight"])


@pytest.mark.parametrize("size", [(2, 32, 6, 5), (1, 64, 3, 7)])
def test_the_group_norm_for_a_gpu_is_that_of_pytorch(size):
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(shape, generator=generator) for shape in (size, size[1], size[1]))
    for given in (x + 3, (x + 3).contiguous(memory_format=torch.channels_last)):
        expected = torch.nn.functional.group_norm(given, 8, weight, bias, 1e-3)
        torch.testing.assert_close(lean.group_norm(given, 8, weight, bias, 1e-3), expected, atol=1e-4, rtol=1e-4)


def test_the_group_norm_for_a_gpu_of_a_constant_is_finite():
    constant = torch.full((2, 32, 64, 64), 37.25, dtype=torch.bfloat16)
    assert lean.group_norm(constant, 8, torch.ones(32), torch.zeros(32)).isfinite().all(), "its variance rounds below 0"
