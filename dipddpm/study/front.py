"""Quality against cost: the points of a study, and which of them nothing beats."""

from __future__ import annotations

from collections.abc import Sequence

from dipddpm.study.read import Job

BASELINES = ("posterior_mean", "noisy_window")  # the two starts that need no DIP


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


def measured(jobs: Sequence[Job]) -> list[tuple[Job, float, float]]:
    """Return (job, total evaluations-worth, PSNR of the result in dB) where both are known."""
    found = ((job, job.figure("cost", "total_evaluations_worth"), job.figure("result", "psnr")) for job in jobs)
    return [(job, worth, psnr) for job, worth, psnr in found if worth is not None and worth > 0 and psnr is not None]


def baselines(jobs: Sequence[Job]) -> dict[str, list[tuple[float, float]]]:
    """Return the distinct points (NFE, PSNR in dB) of each start without a DIP: jobs of one picture share them."""
    points: dict[str, list[tuple[float, float]]] = {}
    for name in BASELINES:
        found = ((job.figure(name, "nfe"), job.figure(name, "psnr")) for job in jobs)
        points[name] = sorted({(nfe, psnr) for nfe, psnr in found if nfe and psnr is not None})
    return points
