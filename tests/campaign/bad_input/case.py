"""A case of bad input: what is typed, and which exit codes are right."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from campaign.commands import SMALL

EITHER = (0, 2)  # a result or a refusal: the case may be more harmless than it looks
REFUSED = (2,)
WHOLE = (0,)
FIT = ["train_dip.py", *SMALL, "dip.layers=1", "dip.max_epochs=10"]
WINDOW = ["sample.py", *SMALL, "dip.layers=1", "dip.max_epochs=10", "ddpm.start_t=3", "baselines=false"]
EXECUTED = "executed"  # a file that no trial may leave: hostile input makes it if its code is run


@dataclass(frozen=True)
class Case:
    """One command.

    Attributes:
        name: What is bad about it.
        argv: As typed after ``python``.
        codes: The exit codes that are right.
    """

    name: str
    argv: Sequence[str]
    codes: tuple[int, ...] = EITHER


class Hostile:
    """An object whose pickle runs a command when it is read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {EXECUTED}",)


def quoted(path: Path) -> str:
    """Return a path as a value of an override, whatever its characters."""
    return "'" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'"


def replaced(argv: Sequence[str], *overrides: str) -> list[str]:
    """Return a command with these overrides in place of those of the same keys."""
    keys = {o.partition("=")[0] for o in overrides}
    return [a for a in argv if a.partition("=")[0] not in keys] + list(overrides)


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def tensors(header: bytes, body: bytes = bytes(64)) -> bytes:
    """Return a safetensors file with any header."""
    return len(header).to_bytes(8, "little") + header + body
