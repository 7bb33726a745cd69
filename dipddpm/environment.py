"""The device, the arithmetic and the versions that a result depends on beside its configuration."""

from __future__ import annotations

import json
import logging
import platform
import re
import subprocess
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache, wraps
from importlib.metadata import PackageNotFoundError, distribution, version
from typing import Any, ParamSpec, TypeVar, cast

import torch

from dipddpm.errors import CLONE, UserError, first_line, need
from dipddpm.names import PRECISIONS

log = logging.getLogger(__name__)
PACKAGES = ("torch", "diffusers", "pytorch-lightning", "hydra-core")
DECISIVE = ("torch", "threads", "precision", "memory_format", "device")
P = ParamSpec("P")
R = TypeVar("R")


def outside_inference_mode(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function: it leaves ``torch.inference_mode()`` while it runs, and so does a generator that it returns.

    Fits need gradients, and so do some forms of data consistency. Tensors made in that mode can have none.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if not torch.is_inference_mode_enabled():
            return function(*args, **kwargs)
        with torch.inference_mode(False):
            result = function(*args, **kwargs)
        return cast(R, _each_outside(result)) if isinstance(result, Generator) else result

    return run


@torch.inference_mode(False)
def _each_outside(items: Generator[Any, None, None]) -> Iterator[Any]:
    yield from items


def choose_device(device: str) -> str:
    """Return the torch device meant by ``auto``, ``cpu``, ``cuda`` or ``cuda:<n>``.

    Raises:
        UserError: For another name, or where there is no such device.
    """
    device = str(device)  # a torch.device is taken, too
    need(bool(re.fullmatch(r"auto|cpu|cuda(:\d+)?", device)), "device", device, "auto, cpu, cuda or cuda:<number>")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=torch.device(device))
    except (RuntimeError, AssertionError) as error:
        reason = first_line(error)
        raise UserError(f"device={device} cannot be used ({reason}): type device=auto") from error
    return device


@contextmanager
def arithmetic(precision: str) -> Iterator[None]:
    """Let a GPU compute float32 as float32 inside the block, or as TF32, and give the same output for the same input.

    By default cuDNN's convolutions use TF32, which rounds like half precision, and add up in any order. Matrix products
    use TF32 in a process that allowed it before. The settings of the process return when the block ends.

    Args:
        precision: With ``tf32`` convolutions and matrix products use TF32. Otherwise they do not.
    """
    cudnn, tf32 = torch.backends.cudnn, precision == "tf32"
    before = torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.deterministic
    _set_arithmetic("high" if tf32 else "highest", tf32, True)
    try:
        yield
    finally:
        _set_arithmetic(*before)


def _set_arithmetic(products: str, tf32: bool, deterministic: bool) -> None:
    torch.set_float32_matmul_precision(products)
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = tf32, deterministic


def has_bf16(device: str) -> bool:
    """Return whether a device computes bf16 itself: a GPU of compute capability 8.0, AVX512-BF16 or AMX.

    Emulated bf16 is slower than fp32.
    """
    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if platform.machine() in ("x86_64", "AMD64"):  # oneDNN counts its emulation by AVX-512, too
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def choose_precision(asked: str, device: str, key: str = "precision") -> str:
    """Return the precision in which a device computes: ``fp32``, ``tf32`` or ``bf16``.

    ``auto`` is bf16 where the device computes bf16 itself, and fp32 elsewhere. ``tf32`` is fp32 where the device has no
    TF32. The log says so, and warns of emulated bf16, once in a process.

    Args:
        asked: ``auto``, ``fp32``, ``tf32`` or ``bf16``.
        device: A torch device, such as ``cpu`` or ``cuda:1``.
        key: The key as typed, such as ``dip.precision``, for the log.

    Raises:
        ValueError: For another precision.
    """
    if asked not in PRECISIONS:
        raise ValueError(f"precision={asked!r}: must be {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}")
    if asked == "auto":
        chosen = "bf16" if has_bf16(device) else "fp32"
        _say_once(logging.INFO, f"{key}=auto: {chosen} on {device}")
        return chosen
    if asked == "tf32" and not (device.startswith("cuda") and has_bf16(device)):  # the same GPUs have both
        _say_once(logging.WARNING, f"{key}=tf32 is fp32 on {device}, which has no TF32: type {key}=auto")
        return "fp32"
    if asked == "bf16" and not has_bf16(device):
        _say_once(logging.WARNING, f"{key}=bf16 is emulated on {device}, and slower than fp32: type {key}=fp32")
    return asked


@cache
def _say_once(level: int, line: str) -> None:
    log.log(level, "%s", line)


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
