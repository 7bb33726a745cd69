"""The device, the arithmetic and the versions that a result depends on beside its configuration."""

from __future__ import annotations

import json
import logging
import platform
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution, version
from typing import Any

import torch

from dipddpm.errors import CLONE, UserError, need

log = logging.getLogger(__name__)
PACKAGES = ("torch", "diffusers", "pytorch-lightning", "hydra-core")
DECISIVE = ("torch", "threads", "precision", "memory_format", "device")


def choose_device(device: str) -> str:
    """Return the torch device meant by ``auto``, ``cpu``, ``cuda`` or ``cuda:<n>``.

    Raises:
        UserError: For another name, or where there is no such device.
    """
    need(bool(re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(device))), "device", device, "auto, cpu, cuda or cuda:<number>")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=torch.device(device))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device={device} cannot be used ({reason}): type device=auto") from error
    return device


def exact_arithmetic() -> None:
    """Make a GPU compute fp32 as fp32, and give the same output for the same input, in this process.

    By default cuDNN's convolutions use TF32, which rounds like half precision, and add up in any order. Matrix products
    use TF32 in a process that allowed it before.
    """
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.deterministic = True


def has_bf16(device: str) -> bool:
    """Return whether a device computes bf16 itself. Emulated bf16 is about forty times slower than fp32."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def warn_if_emulated(key: str, precision: str, device: str) -> None:
    """Warn that bf16 is slow on a device that emulates it. ``key`` is the key as typed, such as ``dip.precision``."""
    if precision == "bf16" and not has_bf16(device):
        log.warning("%s=bf16 is emulated on this processor, many times slower than fp32: type %s=fp32", key, key)


def describe(device: str, precision: str, memory_format: torch.memory_format = torch.channels_last) -> dict[str, Any]:
    """Return versions, threads, precision, memory format (the prior's by default) and device of this process."""
    where = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.machine()
    return {
        **{name.replace("-", "_"): version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "precision": precision,
        "memory_format": str(memory_format).removeprefix("torch."),
        "device": f"{device} ({where})",
    }


def commit() -> str | None:
    """Return the commit of this package's code, with ``-dirty`` for changed files; None where it is not known."""
    if (CLONE / ".git").exists():
        git = ["git", "-C", str(CLONE), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        with suppress(OSError, subprocess.SubprocessError):
            return subprocess.run(git, capture_output=True, text=True, timeout=10, check=True).stdout.strip() or None
    with suppress(PackageNotFoundError, ValueError, KeyError, TypeError):  # pip install git+https://...
        return json.loads(distribution("dipddpm").read_text("direct_url.json") or "")["vcs_info"]["commit_id"]
    return None


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the differences between two environments that prevent bit-equality, each as ``threads 2 -> 4``."""
    return [f"{k} {before.get(k)} -> {now.get(k)}" for k in DECISIVE if before.get(k) != now.get(k)]
