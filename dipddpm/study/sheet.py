"""Which results a study shows as pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from dipddpm.study.order import label
from dipddpm.study.read import Job, Study

MOST = 60


@dataclass(frozen=True)
class Shown:
    """A result that is shown: the job, its picture (RGB) and what is written beneath."""

    job: Job
    picture: Image.Image
    text: str


def results(study: Study) -> tuple[list[Shown], int]:
    """Return the results (DIP outputs where jobs only fitted) to show in the jobs' order, and how many more there are.

    Beyond `MOST` the ones of highest PSNR are kept (without PSNR the first); a picture that does not open is left out.
    """
    name = f"{study.row}.png"
    jobs = [job for job in study.jobs if job.status == "complete" and name in job.files]
    rated = sorted(range(len(jobs)), key=lambda i: (-(study.psnr(jobs[i]) or 0.0), i))
    kept = [jobs[i] for i in sorted(rated[:MOST])]
    opened = [Shown(job, picture, _text(study, job)) for job in kept if (picture := _open(job.folder / name))]
    return opened, len(jobs) - len(kept)


def _open(path: Path) -> Image.Image | None:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # what Pillow raises on damaged files
        return None


def _text(study: Study, job: Job) -> str:
    psnr = study.psnr(job)
    name = label(job.overrides, study.swept) or job.name
    return name if psnr is None else f"{name}: {psnr:.2f}\N{NO-BREAK SPACE}dB"
