"""The terminal and the variables that a process of a command inherits. Imports no torch.

Each process is one independent job, whatever a notebook, a pipe or a shell left in its surroundings.
"""

from __future__ import annotations

import io
import os
import sys


class _Pipe(io.FileIO):
    """A stream of this process that drops its text once its reader has ended, as after ``| head``."""

    def write(self, data, /) -> int | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(data)


def settle() -> None:
    """Make this process independent of its surroundings; a second call changes nothing.

    - The job goes on when the reader of its output ends.
    - ``MPLBACKEND`` is dropped: a notebook's backend is not importable everywhere, and panels need none.
    - torch takes large tensors in pages of 2 MB, unless ``THP_MEM_ALLOC_ENABLE`` says otherwise. An evaluation of the
      256x256 network took 0.87 of the time. The variable has an effect only before torch is imported.
    - ``COLUMNS=0``, which a terminal of unknown width sets, is dropped: tables would be empty.
    """
    os.environ.pop("MPLBACKEND", None)
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if not os.environ.get("COLUMNS", "80").strip(" 0"):
        del os.environ["COLUMNS"]
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this process
            setattr(sys, name, open(os.devnull, "w"))
        stream = getattr(sys, name)
        original = stream is getattr(sys, f"__{name}__")  # not a test's or a notebook's
        if original and isinstance(stream, io.TextIOWrapper):
            stream.flush()
            raw = _Pipe(stream.fileno(), "w", closefd=False)
            encoding, errors = stream.encoding, stream.errors
            new = io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, errors=errors, line_buffering=True)
            setattr(sys, name, new)
