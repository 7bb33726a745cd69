"""Files for ``checkpoint=`` that are no kept epochs: other tensors, lying headers, pickles, devices."""

from __future__ import annotations

import json
import os
import pickle
import random
from pathlib import Path

import torch
from safetensors.torch import save_file

from campaign.bad_input.case import EITHER, REFUSED, WINDOW, Case, Hostile, replaced, tensors

SHAPE = (3, 16, 16)
PICTURES = {
    "another size": torch.zeros(3, 32, 32),
    "two dimensions": torch.zeros(16, 16),
    "no dimension": torch.tensor(1.0),
    "four dimensions": torch.zeros(1, *SHAPE),
    "grey": torch.zeros(1, 16, 16),
    "no pixels": torch.zeros(3, 0, 0),
    "NaN": torch.full(SHAPE, float("nan")),
    "infinity": torch.full(SHAPE, float("inf")),
    "integers": torch.zeros(SHAPE, dtype=torch.int64),
    "bytes": torch.zeros(SHAPE, dtype=torch.uint8),
    "booleans": torch.zeros(SHAPE, dtype=torch.bool),
}
OTHERS = (torch.float16, torch.bfloat16, torch.float64)  # floats that may be converted


def checkpoints(folder: Path, rng: random.Random) -> list[Case]:
    """Write a file for each case."""
    for name, picture in PICTURES.items():
        save_file({"picture": picture}, folder / f"{name}.safetensors")
    for dtype in OTHERS:
        save_file({"picture": torch.zeros(SHAPE, dtype=dtype)}, folder / f"{dtype}.safetensors")
    save_file({"x": torch.zeros(3)}, folder / "no picture.safetensors")
    torch.save({"picture": Hostile()}, folder / "hostile entry.safetensors")
    for name, data in {
        "hostile pickle": pickle.dumps(Hostile()),
        "empty": b"",
        "text": b"hello" * 10,
        "random": rng.randbytes(3000),
        "lying": _claims(10**5),
        "12 GB": _claims(32768),
    }.items():
        (folder / f"{name}.safetensors").write_bytes(data)
    os.truncate(folder / "12 GB.safetensors", len(_claims(32768)) + 12 * 32768**2)  # takes no space
    (folder / "loop.safetensors").symlink_to("loop.safetensors")
    (folder / "zero.safetensors").symlink_to("/dev/zero")
    (folder / "folder.safetensors").mkdir()
    os.mkfifo(folder / "pipe.safetensors")
    converted = {f"{dtype}.safetensors" for dtype in OTHERS}
    return [
        Case(path.stem, replaced(WINDOW, f"checkpoint='{path}'"), EITHER if path.name in converted else REFUSED)
        for path in sorted(folder.iterdir())
    ]


def _claims(side: int) -> bytes:
    """Return the header of a picture of any size, without the picture."""
    entry = {"dtype": "F32", "shape": [3, side, side], "data_offsets": [0, 12 * side**2]}
    return tensors(json.dumps({"picture": entry}).encode(), b"")
