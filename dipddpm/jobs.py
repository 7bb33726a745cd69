"""A job of an entry point: its folder, how a sweep names it, and the rows that it leaves."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = {"fit": "train_dip.py", "sample": "sample.py"}  # the entry points, by what they run
RESTORATIONS = ("noisy", "dip", "result", "posterior_mean", "noisy_window")  # rows of metrics.json, each with a picture
PICTURES = ("clean", "masked", "downscaled", "panel", "fit", "strip")  # a run's others
# The names of all, as patterns; a row of several samples has a picture each.
LEFT = (*(f"{name}.png" for name in (*RESTORATIONS, *PICTURES)), *(f"{name}-[0-9]*.png" for name in RESTORATIONS))
BASELINES = ("posterior_mean", "noisy_window")  # of these the two starts that need no DIP
QUALITIES = {"psnr": ("PSNR (dB)", 2), "ssim": ("SSIM", 3), "stlpips": ("ST-LPIPS", 3)}  # of a row: title, decimals
STOPPED = "stopped by a signal"  # what error.txt says of a job that did not fail
MACHINE = ("threads", "device", "panel_every")  # keys that say how a job runs and not what: a done job stays done
LONGEST = 120  # characters of the readable part; file systems allow 255 in all
LONG_WORD = 24  # a longer one, such as a path, comes last and may be cut


@dataclass(frozen=True)
class Job:
    """Where a job writes, whether it is one of a sweep, and the overrides it was started with."""

    folder: Path
    sweep: bool = False
    overrides: tuple[str, ...] = ()


def job_slug(overrides: Sequence[str], command: str = "sample", ignored: Sequence[str] = ()) -> str:
    """Return a folder name for a job from its overrides: ``layers=4,start_t=50-a6b597c2``.

    The readable part has the last word of each key, the long ones last; the hash is over the sorted
    overrides. So the name depends on the job alone and does not move when the grid around it grows.

    Args:
        overrides: As typed, such as ``["dip.layers=4", "ddpm.start_t=50"]``.
        command: The entry point's; another than ``sample`` stands in the name, so that a sweep's folder can hold both.
        ignored: Keys that say how to run and not what, such as ``threads``: a job found on another machine is the same.
    """
    texts = sorted(text for o in overrides if _key(text := str(o)) not in ignored)
    own = [] if command == "sample" else [command]
    digest = hashlib.sha256("\n".join([*own, *texts]).encode()).hexdigest()[:8]
    words = []
    for text in texts:
        key, _, value = text.lstrip("+~").partition("=")
        words.append(f"{key.split('.')[-1]}={value.rsplit('/', 1)[-1]}")
    words.sort(key=lambda word: (len(word) > LONG_WORD, word))
    readable = re.sub(r"[^A-Za-z0-9.,=_+-]", "_", ",".join([*own, *(words or ["defaults"])]))[:LONGEST]
    return f"{readable}-{digest}"


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]
