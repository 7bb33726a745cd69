"""Compare two priors end to end: a sweep of ``sample.py`` over held-out pictures, then the paired differences.

A DIP fit does not depend on the prior, so each picture is fitted once. A second call continues an unfinished sweep.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dipddpm import seeds
from dipddpm.errors import UserError
from dipddpm.files import canonical
from dipddpm.metrics.paired import paired_difference
from dipddpm.names import QUALITIES
from dipddpm.pictures import write
from dipddpm.study import read_frame
from prior_training.pictures import Pictures

SAMPLE = Path(__file__).parents[1] / "sample.py"


def write_pictures(pictures: Pictures, folder: Path) -> list[Path]:
    """Write each picture as a PNG file named after its content, unless the file exists; return the files."""
    files = [folder / f"{seeds.content_hash(pixels)}.png" for pixels in pictures.pixels]
    for file, pixels in zip(files, pictures.pixels, strict=True):
        if not file.exists():
            write.save_picture(file, pixels.transpose(1, 2, 0) / 255)
    return files


def restore(files: Sequence[Path], priors: Sequence[Path], out: Path, overrides: Sequence[str]) -> list[pd.DataFrame]:
    """Restore each picture with each prior, in a sweep inside ``out/jobs`` with fits in ``out/fits``.

    Args:
        files: Files of clean pictures.
        priors: diffusers folders.
        out: The parent folder of sweep and fits.
        overrides: Further overrides for sample.py.

    Returns:
        One frame for each prior: a row for each of ``files``, in their order, with the columns of `read_frame`.

    Raises:
        UserError: When the sweep fails.
    """
    folder = out / "jobs" / hashlib.sha256(canonical(list(overrides)).encode()).hexdigest()[:8]
    command = [sys.executable, str(SAMPLE), "-m", f"hydra.sweep.dir={folder}", f"store={out / 'fits'}"]
    command += ["image=file", "baselines=false", *overrides]
    command += [f"prior.path={','.join(map(str, priors))}", f"image.path={','.join(map(str, files))}"]
    if subprocess.run(command, stdout=sys.stderr).returncode:  # stdout is for the comparison
        raise UserError(f"the sweep in {folder} failed, as shown above: to continue, type the same command")
    jobs = read_frame(folder).set_index(["prior.path", "image.path"])
    return [jobs.loc[[(str(prior), str(file)) for file in files]] for prior in priors]


def summarise(old: pd.DataFrame, new: pd.DataFrame) -> dict[str, Any]:
    """Compare the frames that `restore` returned for two priors.

    Returns:
        JSON types: ``count`` is the number of pictures. For each quality that all jobs have, ``dip``, ``old`` and
        ``new`` are the means of the DIP output and of both results; ``new_minus_old`` is the paired difference.

    Raises:
        UserError: When the two jobs of a picture started from different fits, or without a fit.
    """
    fits = [jobs["fit_key"].astype("string").fillna("").tolist() for jobs in (old, new)]
    if fits[0] != fits[1] or not all(fits[0]):
        raise UserError("the two priors have no common fits: leave checkpoint=none or checkpoint=<file> out")
    found: dict[str, Any] = {"count": len(old)}
    for quality in QUALITIES:
        columns = (old[f"dip_{quality}"], old[f"result_{quality}"], new[f"result_{quality}"])
        if not any(column.isna().any() for column in columns):
            found[quality] = {
                name: float(column.mean()) for name, column in zip(("dip", "old", "new"), columns, strict=True)
            }
            before, after = (column.tolist() for column in columns[1:])
            found[quality]["new_minus_old"] = vars(paired_difference(after, before))
    return found
