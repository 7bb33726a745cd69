"""Find the installed weights of ST-LPIPS. Imports no torch, because the command line uses it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def stlpips_weights() -> Path | None:
    """Return the weights file in the package ``stlpips_pytorch``, or None where that is not installed."""
    spec = find_spec("stlpips_pytorch")
    for folder in spec.submodule_search_locations or [] if spec else []:
        if (file := Path(folder, "weights", "vST0.0", "alex_shift_tolerant.pth")).is_file():
            return file
    return None
