"""Two priors end to end: a sweep of ``sample.py`` over held-out pictures, then the paired differences.

The prior does not enter a DIP fit, so each picture is fitted once. A sweep that is run again goes on.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from dipddpm import seeds
from dipddpm.errors import UserError
from dipddpm.files import canonical
from dipddpm.names import QUALITIES
from dipddpm.pictures import write
from dipddpm.study import Job, read_study
from prior_training.paired import paired_difference
from prior_training.pictures import Pictures

SAMPLE = Path(__file__).parents[1] / "sample.py"


def write_pictures(pictures: Pictures, folder: Path) -> list[Path]:
    """Write each picture as a PNG file named after its content, unless it is there; return the files."""
    files = [folder / f"{seeds.content_hash(pixels)}.png" for pixels in pictures.pixels]
    for file, pixels in zip(files, pictures.pixels, strict=True):
        if not file.exists():
            write.save(file, pixels.transpose(1, 2, 0) / 255)
    return files


def restore(files: Sequence[Path], priors: Sequence[Path], out: Path, overrides: Sequence[str]) -> list[list[Job]]:
    """Restore each picture with each prior: a sweep inside ``out/jobs``, from fits in ``out/fits``.

    Args:
        files: Clean pictures.
        priors: diffusers folders.
        out: Folder of the sweep.
        overrides: More, as for sample.py.

    Returns:
        For each prior its jobs, in the order of ``files``.

    Raises:
        UserError: When the sweep fails.
    """
    folder = out / "jobs" / hashlib.sha256(canonical(list(overrides)).encode()).hexdigest()[:8]
    command = [sys.executable, str(SAMPLE), "-m", f"hydra.sweep.dir={folder}", f"store={out / 'fits'}"]
    command += ["image=file", "baselines=false", *overrides]
    command += [f"prior.path={','.join(map(str, priors))}", f"image.path={','.join(map(str, files))}"]
    if subprocess.run(command, stdout=sys.stderr).returncode:  # stdout is for the comparison
        raise UserError(f"the sweep in {folder} failed, see above: the same command goes on")
    jobs = {(job.overrides["image.path"], job.overrides["prior.path"]): job for job in read_study(folder).jobs}
    return [[jobs[str(file), str(prior)] for file in files] for prior in priors]


def summarise(old: Sequence[Job], new: Sequence[Job]) -> dict[str, Any]:
    """Compare the jobs of two priors on the same pictures.

    Returns:
        JSON types: ``count``, and for each quality that all jobs have the means of the DIP output (``dip``) and of the
        results (``old``, ``new``), and the paired difference ``new_minus_old``.

    Raises:
        UserError: When a picture's two jobs started from different fits, or from none.
    """
    for a, b in zip(old, new, strict=True):
        if a.fit_key is None or a.fit_key != b.fit_key:
            raise UserError(f"{a.name} and {b.name} start from no common fit: leave out checkpoint=none or <file>")
    found: dict[str, Any] = {"count": len(old)}
    for quality in QUALITIES:
        rows = (("dip", old), ("result", old), ("result", new))
        figures = ([job.figure(row, quality) for job in jobs] for row, jobs in rows)
        dip, before, after = ([value for value in row if value is not None] for row in figures)
        if len(dip) == len(before) == len(after) == len(old):
            found[quality] = {"dip": fmean(dip), "old": fmean(before), "new": fmean(after)}
            found[quality]["new_minus_old"] = vars(paired_difference(after, before))
    return found
