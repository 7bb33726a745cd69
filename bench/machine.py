"""The machine that a measurement depends on, and the rate of its matrix products."""

from __future__ import annotations

import os
import platform
import time
from functools import cache
from pathlib import Path
from typing import Any

import torch

from dipddpm import environment

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
TELLING = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_tile")  # flags that set the speed


def describe(device: str) -> dict[str, Any]:
    """Return versions, threads, processor, its flags, cores, commit and the GPU, as JSON types."""
    facts: dict[str, Any] = environment.describe(device, "as each row says")
    del facts["precision"], facts["memory_format"]  # each row has its own
    cpu = processor()
    flags = cpu.get("flags", "").split()
    facts |= {
        "processor": cpu.get("model name", platform.processor() or platform.machine()),
        "flags": [flag for flag in TELLING if flag in flags],
        "cores": len(os.sched_getaffinity(0)),
        "commit": environment.commit(),
    }
    if device.startswith("cuda"):
        facts["gpu"] = torch.cuda.get_device_name(device)
        facts["cuda"] = torch.version.cuda
    return facts


def processor() -> dict[str, str]:
    """Return the facts of the first core in /proc/cpuinfo; none where there is no such file."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().partition("\n\n")[0].splitlines() if path.is_file() else []
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def has_fast_bf16(device: str) -> bool:
    """Return whether a device has instructions for bf16: a GPU, or a processor with AVX512-BF16 or AMX.

    torch computes bf16 on a processor with AVX-512 alone, too, but not faster than fp32.
    """
    if device.startswith("cuda"):
        return environment.has_bf16(device)
    return bool({"avx512_bf16", "amx_bf16"} & set(processor().get("flags", "").split()))


def load() -> float:
    """Return the load average of the last minute: the number of processes that want a core."""
    return os.getloadavg()[0]


@cache
def matrix_rate(device: str, precision: str) -> float:
    """Return the rate of large matrix products, in GFLOP/s: the fastest of those within half a second, at least two.

    Args:
        device: A torch device.
        precision: ``fp32``, ``tf32`` or ``bf16``.
    """
    n = 8192 if device.startswith("cuda") else 1536
    numbers = torch.Generator().manual_seed(0)  # a product of zeros or ones is faster on a GPU
    a, b = (torch.randn(n, n, generator=numbers).to(device, DTYPES[precision]) for _ in range(2))
    before, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, precision == "tf32"
    try:
        taken: list[float] = []
        while len(taken) < 3 or sum(taken) < 0.5:
            taken.append(clocked(lambda: torch.mm(a, b), device))
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    return 2 * n**3 / min(taken[1:]) / 1e9


def clocked(work: Any, device: str) -> float:
    """Return the seconds of ``work()``, until the device has ended it."""
    synchronise(device)
    began = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - began


def synchronise(device: str) -> None:
    """Wait until a GPU has ended its work."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
