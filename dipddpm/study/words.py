"""The sentences at the head of a study."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd

from dipddpm.names import SCRIPTS
from dipddpm.study.frame import output, output_name, psnr_of
from dipddpm.study.points import Problems, best, measured, pareto_front, problems, without_a_dip


def plural(n: int | str, noun: str) -> str:
    """Return a count with its noun: ``1 job``, ``2 jobs``."""
    return f"{n} {noun}" if str(n) == "1" else f"{n} {noun}s"


def duration(seconds: float) -> str:
    """Return seconds as text for people: ``0.36 s`` below a minute, ``0:02:05`` above."""
    return f"{seconds:.2f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def summary(frame: pd.DataFrame) -> list[str]:
    """Return the sentences that stand at the head of a study."""
    statuses = frame["status"].value_counts().sort_index()
    errors = frame.loc[frame["status"] == "failed", "error"].value_counts(sort=False)
    found = [
        f"{plural(len(frame), 'job')}: {', '.join(f'{n} {status}' for status, n in statuses.items())}.",
        *(f"{plural(n, 'job')} failed: {error}" for error, n in errors.items()),
        _commands(frame),
        _best(frame),
        _best_without_a_dip(frame),
        _many(frame),
        _against_no_dip(frame),
        _times(frame),
    ]
    return [sentence for sentence in found if sentence]


def averaging(frame: pd.DataFrame) -> str:
    """Return the sentence that explains the points of the chart; empty for a sweep of one problem."""
    over = problems(frame)
    if over.averaged:
        return f"Each point is the {_mean_of(over)}."
    if not over.keys:
        number = frame["problem"].nunique()
        return (
            f"Each point is one job, and the jobs restore {number} different problems. The front therefore compares "
            "easy problems with hard ones."
        ) * (number > 1)  # such as experiments, of which some have the same problem
    return (
        f"Each point is one job and restores one of several problems ({', '.join(over.keys)}), because no setting has "
        "figures for all problems yet. The front therefore compares easy problems with hard ones."
    )


def no_chart(frame: pd.DataFrame) -> str:
    """Return the sentence that says why the page has no chart."""
    if frame["status"].ne("complete").all():
        return "There is no chart: no job is complete yet."
    if frame[psnr_of(frame)].isna().all():
        return f"There is no chart: no job has a PSNR of its {output_name(frame)}. A PSNR needs a clean picture."
    return "There is no chart: no job with a PSNR has a total cost. The cost of a start from a file is unknown."


def _mean_of(over: Problems) -> str:
    return f"mean over {len(over.found)} problems: {', '.join(over.keys)}"


def _commands(frame: pd.DataFrame) -> str:
    each = frame["command"].value_counts().sort_index()
    if len(each) < 2:
        return ""
    told = " and ".join(f"{plural(n, 'job')} of {SCRIPTS.get(str(name), name)}" for name, n in each.items())
    return f"This folder holds {told}. The chart, the heat maps and the pictures show the jobs with a result."


def _best(frame: pd.DataFrame) -> str:
    found, over = best(frame), problems(frame)
    mean = f", {_mean_of(over)}" if over.averaged else ""
    if found is None:
        return ""
    interval = f" ± {found['interval']:.2f}" if pd.notna(found["interval"]) else ""
    return f"Best {output_name(frame)} of a job: {found['psnr']:.2f}{interval} dB ({found['name']}){mean}."


def _many(frame: pd.DataFrame) -> str:
    """Return the sentence that explains the figures of jobs of many pictures; empty where there are none."""
    counts = frame["pictures"].dropna()
    if counts.empty:
        return ""
    least, most = counts.min(), counts.max()
    of_each = plural(least, "picture") if least == most else f"{least} to {most} pictures"
    return (
        f"Figures of a job with many pictures are means over {of_each}; ± is half the width of the 95% interval. "
        "Differences are paired by picture."
    )


def _best_without_a_dip(frame: pd.DataFrame) -> str:
    others = without_a_dip(frame).sort_values(["psnr", "cost"], ascending=[False, True])
    if others.empty:
        return ""
    psnr, cost = others["psnr"].iloc[0], round(others["cost"].iloc[0], 1)
    return f"Best without a DIP, baselines included: {psnr:.2f} dB with {plural(f'{cost:g}', 'evaluation')} and no fit."


def _against_no_dip(frame: pd.DataFrame) -> str:
    """Return the sentence that counts the points of the DIP starts' front that a start without a DIP beats, or ""."""
    over = problems(frame)
    mixed = not over.averaged and (over.keys or frame["problem"].nunique() > 1)
    if output(frame) != "result" or mixed:
        return ""
    found, others = measured(frame), without_a_dip(frame)
    front = pareto_front(found[found["dip"]])
    if front.empty or others.empty:
        return ""
    beaten = sum(((others["cost"] <= p.cost) & (others["psnr"] >= p.psnr)).any() for p in front.itertuples())
    return (
        f"Jobs with a DIP: {plural(len(front), 'point')} on a Pareto front of their own. For {beaten} of "
        "them a start without a DIP costs no more and has no lower PSNR."
    )


def _times(frame: pd.DataFrame) -> str:
    """Return the sentence with the seconds of the complete jobs: each fit counted once, and counted for every job."""
    pictures = frame["pictures"].fillna(1)  # all seconds are per picture
    fit_seconds = frame["fit_seconds"] * pictures
    once = fit_seconds.groupby(frame["fit_key"]).max().sum()  # up to the last epoch that a job needed
    fits = pictures.groupby(frame["fit_key"]).max().sum()
    windows = (frame["window_seconds"] * frame["samples"].fillna(1) * pictures).sum()
    every = fit_seconds.sum()
    if not windows and not once:
        return ""
    return (
        f"Time of the complete jobs without baselines: windows {duration(windows)}, {plural(round(fits), 'fit')} "
        f"{duration(once)} with each fit counted once ({duration(every)} if each job had made its own fit)."
    )
