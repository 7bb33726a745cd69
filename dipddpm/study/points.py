"""The points of a study, quality against cost, and its Pareto front.

A sweep may restore several problems: pictures, noise strengths, seeds. With one point for each job the easiest problem
would win. A point is then a setting: the jobs that agree in every other swept key, at their mean over the problems.
Only settings with figures for every problem are points. While no setting has all, each job is a point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from dipddpm.names import BASELINES
from dipddpm.study.frame import PROBLEM_GROUPS, cost_of, output, psnr_of, swept
from dipddpm.study.labels import labels

DRAWS = "ddpm.seed"  # seed of the window's noise; points are means over it if all settings have the same seeds
WHOLE_SETTINGS = ("experiment", "prior")  # keys that may change both the problem and the setting


@dataclass(frozen=True)
class Problems:
    """The problems that a sweep restores.

    Attributes:
        keys: The swept keys that define the problems.
        settings: The other swept keys.
        each: The number of each job's problem, by the frame's index.
        found: The numbers of the problems that have figures.
        averaged: Whether a point is a mean over the problems; otherwise a point is a job.
    """

    keys: list[str]
    settings: list[str]
    each: pd.Series
    found: frozenset[int]
    averaged: bool


def problems(frame: pd.DataFrame) -> Problems:
    """Return the problems of a sweep, and whether its points can be means over them."""
    varied = swept(frame)
    keys = [key for key in varied if _poses(frame, key)]
    if DRAWS in varied:
        over = _problems(frame, sorted({*keys, DRAWS}), varied)
        if over.averaged:  # otherwise each setting has its own seeds, which are a part of the setting
            return over
    return _problems(frame, keys, varied)


def _poses(frame: pd.DataFrame, key: str) -> bool:
    """Return whether a key defines the problem. One of `WHOLE_SETTINGS` does if its values have different problems."""
    group = key.partition(".")[0]
    if group not in WHOLE_SETTINGS:
        return group in PROBLEM_GROUPS
    pairs = frame[[key, "problem"]].dropna(subset="problem").drop_duplicates()
    return pairs[key].nunique(dropna=False) > 1 and pairs["problem"].is_unique


def _problems(frame: pd.DataFrame, keys: list[str], varied: Sequence[str]) -> Problems:
    settings = [key for key in varied if key not in keys]
    each, setting = _numbers(frame, keys), _numbers(frame, settings)
    psnr = frame[psnr_of(frame)].notna()
    both = psnr & frame[cost_of(frame)].notna()
    told = both if both.any() else psnr
    found = frozenset(each[told]) if keys else frozenset()
    most = each[told].groupby(setting[told]).nunique().max()
    return Problems(keys, settings, each, found, len(found) > 1 and most == len(found))


def _numbers(frame: pd.DataFrame, keys: Sequence[str]) -> pd.Series:
    """Return a number for each job. Jobs that agree in all keys have the same number."""
    if not keys:
        return pd.Series(0, frame.index)
    return frame.groupby(list(keys), dropna=False, sort=False).ngroup()


def points(frame: pd.DataFrame, figures: Sequence[str]) -> pd.DataFrame:
    """Return one row for each point that has all the figures.

    Args:
        frame: The frame of a study.
        figures: Columns with numbers.

    Returns:
        The figures as floats, ``name`` (the values of the keys in which points differ), ``jobs`` (a list of index
        values of the frame) and ``dip`` (whether any of the jobs started from a DIP output or from a file).
    """
    over = problems(frame)
    rows = frame.dropna(subset=list(figures))[list(figures)].astype(float)
    if over.averaged:
        rows = rows[over.each[rows.index].isin(over.found)]
        setting = _numbers(frame, over.settings)[rows.index].rename("setting")
        means = rows.groupby([setting, over.each[rows.index].rename("problem")]).mean()  # one mean for each problem
        whole = means.groupby("setting").size() == len(over.found)
        table = means.groupby("setting").mean()[whole]
        of_setting = rows.groupby(setting).groups
        jobs = [list(of_setting[number]) for number in table.index]
    else:
        table, jobs = rows, [[job] for job in rows.index]
    varied = swept(frame)
    keys = over.settings if over.averaged else varied
    names = labels(frame.loc[[each[0] for each in jobs]], keys, varied).tolist()
    if over.averaged and not keys:
        names = ["all jobs"] * len(jobs)
    has_dip = (frame["fit_evaluations_worth"].fillna(1) != 0).to_dict()
    told = {"name": names, "jobs": jobs, "dip": [any(map(has_dip.get, each)) for each in jobs]}
    return table.assign(**told).astype({"dip": bool}).reset_index(drop=True)


def measured(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the points with known quality and cost, as columns ``psnr`` (dB), ``cost`` and ``interval``.

    ``interval`` is half the 95% interval of the PSNR in dB: of a job of many pictures that is one point, else missing.
    """
    psnr, cost = psnr_of(frame), cost_of(frame)
    found = points(frame.assign(**{cost: frame[cost].where(frame[cost] > 0)}), [cost, psnr])
    return found.rename(columns={cost: "cost", psnr: "psnr"}).assign(interval=_intervals(frame, found))


def _intervals(frame: pd.DataFrame, found: pd.DataFrame) -> list[float]:
    of_job = frame[f"{psnr_of(frame)}_interval"].astype(float)
    return [of_job[jobs[0]] if len(jobs) == 1 else float("nan") for jobs in found["jobs"]]


def pareto_front(found: pd.DataFrame) -> pd.DataFrame:
    """Return the points that no other point dominates, sorted by ``cost``.

    A point dominates another when it costs no more, has no lower ``psnr``, and differs in one of the two. Equal points
    do not dominate each other.
    """
    places = found[["cost", "psnr"]].drop_duplicates().sort_values(["cost", "psnr"], ascending=[True, False])
    best = places[places["psnr"] > places["psnr"].cummax().shift(fill_value=float("-inf"))]
    return best.merge(found, on=["cost", "psnr"], how="left")


def best(frame: pd.DataFrame) -> pd.Series | None:
    """Return the point with the highest ``psnr``, at any cost, and its ``interval``; None if no point has a PSNR."""
    found = points(frame, [psnr_of(frame)]).rename(columns={psnr_of(frame): "psnr"})
    found = found.assign(interval=_intervals(frame, found))
    return None if found.empty else found.nlargest(1, "psnr").iloc[0]


def baselines(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the distinct points of each start without a DIP, as ``cost`` (NFE) and ``psnr``. Jobs share them."""
    found = {}
    for name in BASELINES:
        table = points(frame, [f"{name}_nfe", f"{name}_psnr"])
        table = table.rename(columns={f"{name}_nfe": "cost", f"{name}_psnr": "psnr"})[["cost", "psnr"]]
        found[name] = table[table["cost"] > 0].drop_duplicates().sort_values(["cost", "psnr"])
    return found


def without_a_dip(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ``cost`` and ``psnr`` of all starts without a DIP: the baselines, and the jobs with checkpoint=none."""
    tables = list(baselines(frame).values())
    if output(frame) == "result":
        found = measured(frame)
        tables.append(found.loc[~found["dip"], ["cost", "psnr"]])
    return pd.concat(tables, ignore_index=True)
