"""What a study says of itself in sentences."""

from __future__ import annotations

from dipddpm.runs.job import SCRIPTS
from dipddpm.study.cost import Cost, duration
from dipddpm.study.front import Problems, front_of, measured, problems, without_a_dip
from dipddpm.study.read import Study


def plural(n: int | str, noun: str) -> str:
    """Return a count with its noun: ``1 job``, ``2 jobs``."""
    return f"{n} {noun}" if str(n) == "1" else f"{n} {noun}s"


def averaging(study: Study) -> str:
    """Return what a point of the chart is, where several problems were swept; empty where none were."""
    over = problems(study)
    if not over.keys:
        return ""
    if over.averaged:
        return f"Each point is the {mean_of(over)}."
    if len(over.found) < 2:
        return f"Each point is one job: at most one problem has figures yet ({', '.join(over.keys)})."
    return (
        f"Each point is one job, of whichever problem ({', '.join(over.keys)}): no setting has figures for all "
        f"{len(over.found)} problems yet, so the front compares easy with hard ones."
    )


def mean_of(over: Problems) -> str:
    """Return what is averaged: ``mean over 4 problems: image.path``."""
    return f"mean over {len(over.found)} problems: {', '.join(over.keys)}"


def commands(study: Study) -> str:
    """Return which commands' jobs the folder holds; empty where it is one's."""
    counts = study.commands
    if len(counts) < 2:
        return ""
    each = " and ".join(f"{plural(n, 'job')} of {SCRIPTS.get(name, name)}" for name, n in counts.items())
    return f"This folder holds {each}; the chart, the heat maps and the pictures show those with a result."


def against_no_dip(study: Study) -> str:
    """Return how much of the DIP starts' own front a start without a DIP beats; empty where the two do not compare."""
    over = problems(study)
    if study.row != "result" or (over.keys and not over.averaged):
        return ""
    front, others = front_of([p for p in measured(study) if p.has_dip]), without_a_dip(study)
    if not front or not others:
        return ""
    beaten = sum(any(worth <= p.worth and psnr >= p.psnr for worth, psnr in others) for p in front)
    if len(front) == 1:
        return (
            f"Without a DIP the same network {'gives' if beaten else 'does not give'} as much for as little as the one "
            "point of the front of those that start from a DIP."
        )
    return (
        f"Without a DIP the same network gives as much for as little in {beaten} of the {len(front)} points of the "
        "front of those that start from a DIP."
    )


def cost_line(cost: Cost) -> str:
    """Return what the complete jobs cost, with every fit counted once and with every fit counted for each job."""
    if not cost.fits:
        return f"Cost of the complete jobs: {duration(cost.seconds)}, of their windows. Baselines are not in it."
    windows = f", windows {duration(cost.window_seconds)}" if cost.window_seconds else ""
    return (
        f"Cost of the complete jobs: {duration(cost.seconds)} with each fit counted once "
        f"({plural(len(cost.fits), 'fit')} {duration(cost.fit_seconds)}{windows}); "
        f"{duration(cost.unshared_seconds)} if every job had made its own. Baselines are not in it."
    )


def no_chart(study: Study) -> str:
    """Return why there is no chart: what no job has."""
    complete = [job for job in study.jobs if job.status == "complete"]
    if not complete:
        return "No job is complete yet, so there is no chart."
    if not any(study.psnr(job) is not None for job in complete):
        return f"No job has a PSNR of its {study.output}, which needs a clean picture, so there is no chart."
    if not any(study.worth(job) for job in complete):
        return "No job has a total cost, which a start from a file has not, so there is no chart."
    return "No job has both a PSNR and a cost, so there is no chart."
