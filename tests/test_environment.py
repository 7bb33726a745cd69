"""What a result depends on beside its configuration."""

import json
import logging
import subprocess
from types import SimpleNamespace

import pytest
import torch

from dipddpm import environment
from dipddpm.environment import arithmetic, choose_precision


def test_the_commit_of_the_code_is_that_of_the_clone_or_of_the_installation(tmp_path, monkeypatch):
    def git(*arguments):
        own = ["git", "-C", str(tmp_path), "-c", "user.name=me", "-c", "user.email=me@here"]
        return subprocess.run([*own, *arguments], capture_output=True, text=True, check=True).stdout.strip()

    monkeypatch.setattr(environment, "CLONE", tmp_path)
    found: list[str | None] = [json.dumps({"vcs_info": {"commit_id": "abc"}}), "{}", None]
    monkeypatch.setattr(environment, "distribution", lambda _: SimpleNamespace(read_text=lambda _: found.pop(0)))
    assert [environment.commit() for _ in range(3)] == ["abc", None, None]
    git("init", "-q")
    (tmp_path / "code.py").write_text("1\n")
    git("add", "-A")
    git("commit", "-qm", "First")
    assert environment.commit() == git("rev-parse", "HEAD")
    (tmp_path / "code.py").write_text("2\n")
    assert environment.commit() == git("rev-parse", "HEAD") + "-dirty"


@pytest.fixture
def said(caplog):
    """The lines of the log; each can be said once more."""
    environment._say_once.cache_clear()
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("device", "capability", "avx512", "amx", "chosen"),
    [
        ("cuda", (9, 0), False, False, "bf16"),
        ("cuda:1", (8, 0), False, False, "bf16"),
        ("cuda", (7, 5), True, True, "fp32"),
        ("cpu", (9, 0), False, False, "fp32"),
        ("cpu", (7, 5), True, False, "bf16"),
        ("cpu", (7, 5), False, True, "bf16"),
    ],
)
def test_auto_is_bf16_where_the_device_computes_it_itself(monkeypatch, said, device, capability, avx512, amx, chosen):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda asked: capability if asked == device else None)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(environment.platform, "machine", lambda: "x86_64")
    for _ in range(2):
        assert choose_precision("auto", device, "dip.precision") == chosen
    assert said() == [f"dip.precision=auto: {chosen} on {device}"], "once"
    assert choose_precision("fp32", device) == "fp32" and len(said()) == 1


def test_a_precision_that_a_device_has_not_is_said(monkeypatch, said):
    monkeypatch.setattr(environment, "has_bf16", lambda device: device == "cuda")
    assert [choose_precision("tf32", device, "ddpm.precision") for device in ("cuda", "cuda:1", "cpu")] == [
        *("tf32", "fp32", "fp32")
    ]
    assert said()[-1] == "ddpm.precision=tf32 is fp32 on cpu, which has no TF32: type ddpm.precision=auto"
    assert choose_precision("bf16", "cuda") == choose_precision("bf16", "cpu") == "bf16"
    assert said()[-1] == "precision=bf16 is emulated on cpu, and slower than fp32: type precision=fp32"
    assert len(said()) == 3
    with pytest.raises(ValueError, match="precision='fp16': must be fp32, tf32, bf16 or auto"):
        choose_precision("fp16", "cpu")


def test_the_arithmetic_of_the_process_returns(monkeypatch):
    def now():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic

    before = now()
    with arithmetic("tf32"):
        assert now() == ("high", True, True)
        with pytest.raises(KeyError), arithmetic("fp32"):
            assert now() == ("highest", False, True)
            raise KeyError
        assert now() == ("high", True, True)
    with arithmetic("bf16"):
        assert now() == ("highest", False, True)
    assert now() == before
