"""What a command left in a folder, in a form that two runs of the same command share to the bit."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from dipddpm.dip.curves import COLUMNS
from dipddpm.files import flat, sha256
from dipddpm.fits import Damaged, FitStore

OF_ONE_RUN = ("seconds", "made_by_this_run", "environment", "overrides", "fit.folder")  # parts of keys of metrics.json
SHOWN = 4  # differences


def left(folder: Path) -> dict[str, Any]:
    """Return pictures, figures and tables of ``folder/out*`` and all fits of ``folder/fits``, by a name for each.

    Times and the names of the makers are left out.
    """
    found: dict[str, Any] = {}
    for file in sorted(folder.glob("out*/**/metrics.json")):
        job = file.parent
        name = job.relative_to(folder)
        found |= {f"{name}/{p.name}": sha256(p) if p.is_file() else "no file" for p in job.glob("*.png")}
        found |= {f"{name}: {k}": v for k, v in _figures(file).items() if not any(part in k for part in OF_ONE_RUN)}
    for file in sorted(folder.glob("out*/summary.csv")):
        with file.open(newline="") as lines:
            for i, row in enumerate(csv.DictReader(lines)):
                found |= {f"summary.csv {i}: {k}": v for k, v in row.items() if "seconds" not in k}
    return found | fits(folder / "fits")


def fits(root: Path) -> dict[str, Any]:
    """Return the condition of each fit of a store, and hashes of its kept epochs and curves."""
    store = FitStore(root)
    found: dict[str, Any] = {}
    for key in store.keys():
        try:
            fit = store.find(key)
        except (Damaged, OSError) as error:
            found[key] = "damaged" if isinstance(error, Damaged) else "not to be read"
            continue
        found[key] = "whole" if fit else "begun"
        if not fit:
            continue
        found |= {f"{key} epoch {e}": _kept(fit.epoch_file(e)) for e in fit.kept}
        columns = {name: fit.curves.column(name) for name in COLUMNS if name != "seconds"}
        found[f"{key} curves"] = _digest(columns)
    return found


def _figures(path: Path) -> dict[str, Any]:
    try:
        return flat(json.loads(path.read_text()))
    except (OSError, ValueError, AttributeError):
        return {"metrics.json": "cannot be read"}


def _kept(path: Path) -> str:
    try:
        return _digest(load_file(path))
    except (SafetensorError, OSError):
        return "cannot be read"


def _digest(arrays: dict[str, np.ndarray]) -> str:
    content = hashlib.sha256()
    for name in sorted(arrays):
        content.update(name.encode() + arrays[name].tobytes())
    return content.hexdigest()


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Return one fault that names what differs from what an undisturbed run left; none where nothing does."""
    names = sorted(k for k in found.keys() | wanted.keys() if found.get(k) != wanted.get(k))
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return [f"differs: {', '.join(names[:SHOWN])}{more}"] if names else []
