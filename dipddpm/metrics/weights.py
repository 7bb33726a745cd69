"""Where the weights of ST-LPIPS are installed. Imports no torch: the command line asks."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def stlpips_weights() -> Path | None:
    """Return the file of ST-LPIPS' weights in the package that brings them, which is not imported; None without it."""
    spec = find_spec("stlpips_pytorch")
    for folder in spec.submodule_search_locations or [] if spec else []:
        if (file := Path(folder, "weights", "vST0.0", "alex_shift_tolerant.pth")).is_file():
            return file
    return None
