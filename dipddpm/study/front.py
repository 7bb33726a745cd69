"""Quality against cost: the points of a study, and which of them nothing beats.

Where a sweep restores several problems (pictures, noise levels, seeds), the easiest of them would win. So a point is
then a setting, which is all jobs that agree in every other swept key, at its mean over the problems. Only settings
that have figures for every problem count; while none has, each job is a point of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from dipddpm.names import BASELINES
from dipddpm.study.order import UNSET, label
from dipddpm.study.read import Job, Study

PROBLEM_GROUPS = ("image", "noise", "operator", "seed")  # keys that say what is restored, not how
DRAWS = "ddpm.seed"  # of the window's noise: what all settings draw alike is averaged over, too
WHOLE_SETTINGS = ("experiment", "prior")  # keys that may say both


@dataclass(frozen=True)
class Problems:
    """What a sweep restores, where it restores several.

    Attributes:
        keys: The swept keys that say it.
        found: Their values in the jobs that have figures, one tuple a problem.
        averaged: Whether a point is a mean over them; otherwise it is a job.
    """

    keys: tuple[str, ...]
    found: frozenset[tuple[str, ...]]
    averaged: bool


@dataclass(frozen=True)
class Point:
    """A setting of a study, or one job of it.

    Attributes:
        jobs: Whose mean it is.
        worth: Cost, in the unit of `Study.worth`.
        psnr: In dB.
    """

    jobs: tuple[Job, ...]
    worth: float
    psnr: float

    @property
    def has_dip(self) -> bool:
        """Whether any of its jobs started from a DIP output."""
        return any(job.has_dip for job in self.jobs)


@dataclass(frozen=True)
class Look:
    """A setting of a study, or one job of it, by how far off its output is and how different it looks.

    Attributes:
        jobs: Whose mean it is.
        psnr: In dB.
        stlpips: ST-LPIPS, 0 or more; lower looks more alike.
    """

    jobs: tuple[Job, ...]
    psnr: float
    stlpips: float


Figures = Callable[[Job], tuple[float, ...] | None]
Means = list[tuple[tuple[Job, ...], tuple[float, ...]]]


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return which points (cost, quality) no other point dominates, by cost.

    A point dominates another when it costs no more and is no worse, and differs in one of the two. Equal points
    do not dominate each other: all of them are in the front, or none.
    """
    front: list[int] = []
    best = float("-inf")
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i)):
        twin = bool(front) and points[front[-1]] == points[i]
        if points[i][1] > best or twin:
            front.append(i)
            best = points[i][1]
    return front


def measured(study: Study) -> list[Point]:
    """Return the points whose cost and PSNR are both known."""
    return [Point(jobs, *pair) for jobs, pair in _means(study, problems(study), lambda job: _cost_and_psnr(study, job))]


def front_of(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other dominates, by cost."""
    return [points[i] for i in pareto_front([(point.worth, point.psnr) for point in points])]


def best(study: Study) -> tuple[tuple[Job, ...], float] | None:
    """Return the jobs of the highest PSNR, whatever they cost, and that PSNR in dB."""
    rated = _means(study, problems(study), lambda job: _psnr(study, job))
    return max(((jobs, psnr) for jobs, (psnr,) in rated), key=lambda pair: pair[1], default=None)


def comparable(study: Study) -> list[Job]:
    """Return the jobs with a PSNR whose mean is not one of other problems than that of other jobs."""
    return [job for jobs, _ in _means(study, problems(study), lambda job: _psnr(study, job)) for job in jobs]


def baselines(study: Study) -> dict[str, list[tuple[float, float]]]:
    """Return the distinct points (NFE, PSNR in dB) of each start without a DIP: jobs of one picture share them."""
    over = problems(study)
    return {
        name: sorted({(nfe, psnr) for _, (nfe, psnr) in _means(study, over, lambda job, name=name: _start(job, name))})
        for name in BASELINES
    }


def without_a_dip(study: Study) -> list[tuple[float, float]]:
    """Return the points (cost, PSNR in dB) that need no DIP: baselines, and the results of jobs that asked for none."""
    points = [pair for each in baselines(study).values() for pair in each]
    if study.row == "result":
        points += [(p.worth, p.psnr) for p in measured(study) if not p.has_dip]
    return points


def looks(study: Study, row: str) -> list[Look]:
    """Return where the outputs of a row stand by PSNR and ST-LPIPS, those that have both."""
    over = problems(study)
    return [Look(jobs, *pair) for jobs, pair in _means(study, over, lambda job: _psnr_and_stlpips(job, row))]


def problems(study: Study) -> Problems:
    """Return what the sweep restores, and whether points can be means over it."""
    keys = tuple(key for key in study.swept if _poses(study, key))
    if DRAWS in study.swept:
        over = _problems(study, tuple(key for key in study.swept if key in (*keys, DRAWS)))
        if over.averaged:  # another seed for each setting is a part of it
            return over
    return _problems(study, keys)


def _problems(study: Study, keys: tuple[str, ...]) -> Problems:
    jobs = [job for job in study.jobs if job.known]
    told = [job for job in jobs if _cost_and_psnr(study, job)] or [job for job in jobs if _psnr(study, job)]
    found = frozenset(_values(job, keys) for job in told) if keys else frozenset()
    others = setting_keys(study, keys)
    each = {_values(job, others): set[tuple[str, ...]]() for job in told}
    for job in told:
        each[_values(job, others)].add(_values(job, keys))
    return Problems(keys, found, len(found) > 1 and any(of == found for of in each.values()))


def _poses(study: Study, key: str) -> bool:
    """Whether a key says what is restored; of one that may, whether no two of its values restored the same."""
    group = key.partition(".")[0]
    if group not in WHOLE_SETTINGS:
        return group in PROBLEM_GROUPS
    posed: dict[str, set[str]] = {}
    for job in study.jobs:
        if job.known and (metrics := job.metrics):
            picture, mask = metrics.get("picture") or {}, (metrics.get("inputs") or {}).get("operator.file")
            found = json.dumps(
                [picture.get("content"), metrics.get("noise"), metrics.get("operator"), mask], sort_keys=True
            )
            posed.setdefault(job.overrides.get(key, UNSET), set()).add(found)
    return len(posed) > 1 and sum(map(len, posed.values())) == len(set.union(*posed.values()))


def setting_keys(study: Study, problem_keys: Sequence[str]) -> tuple[str, ...]:
    """Return the swept keys that say how a problem is restored."""
    return tuple(key for key in study.swept if key not in problem_keys)


def name_of(study: Study, jobs: Sequence[Job]) -> str:
    """Return what tells a job, or the jobs of a mean, from the others."""
    if len(jobs) == 1:
        return label(jobs[0].overrides, study.swept) or jobs[0].name
    shared = setting_keys(study, problems(study).keys)
    told = {key: value for key, value in jobs[0].overrides.items() if key in shared}
    return label(told, study.swept) or "all jobs"


def _means(study: Study, over: Problems, figures: Figures) -> Means:
    """Return the means of figures with the jobs that they are over; single jobs where problems are not averaged."""
    found = [(job, values) for job in study.jobs if (values := figures(job)) is not None]
    if not over.averaged:
        return [((job,), values) for job, values in found]
    others = setting_keys(study, over.keys)
    settings: dict[tuple[str, ...], dict[tuple[str, ...], Means]] = {}
    for job, values in found:
        if job.known and (problem := _values(job, over.keys)) in over.found:
            settings.setdefault(_values(job, others), {}).setdefault(problem, []).append(((job,), values))
    return [
        (
            tuple(job for group in each.values() for (job,), _ in group),
            _mean([_mean([values for _, values in group]) for group in each.values()]),
        )
        for each in settings.values()
        if each.keys() == over.found
    ]


def _mean(rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(map(fmean, zip(*rows, strict=True)))  # fmean: the same whatever the order


def _values(job: Job, keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(job.overrides.get(key, UNSET) for key in keys)


def _cost_and_psnr(study: Study, job: Job) -> tuple[float, float] | None:
    worth, psnr = study.worth(job), study.psnr(job)
    return None if worth is None or worth <= 0 or psnr is None else (worth, psnr)


def _psnr(study: Study, job: Job) -> tuple[float] | None:
    psnr = study.psnr(job)
    return None if psnr is None else (psnr,)


def _psnr_and_stlpips(job: Job, row: str) -> tuple[float, float] | None:
    psnr, stlpips = job.figure(row, "psnr"), job.figure(row, "stlpips")
    return None if psnr is None or stlpips is None else (psnr, stlpips)


def _start(job: Job, name: str) -> tuple[float, float] | None:
    nfe, psnr = job.figure(name, "nfe"), job.figure(name, "psnr")
    return None if not nfe or psnr is None else (nfe, psnr)
