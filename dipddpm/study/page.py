"""The page of a study: one HTML file beside the jobs' folders, read from disk without a server or a network.

Everything that a job says goes through jinja2's escaping, and every link through `quote`; the script in the page
contains no data.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined, Template

from dipddpm.study import plots
from dipddpm.study.cost import Cost, duration
from dipddpm.study.front import best, front_of, measured, name_of, problems, without_a_dip
from dipddpm.study.heat import HeatMap
from dipddpm.study.order import is_number, label, natural, short
from dipddpm.study.read import Job, Study
from dipddpm.study.sheet import Shown
from dipddpm.study.table import STLPIPS, Column, Value, in_words, rows, shown_columns
from dipddpm.study.words import against_no_dip, averaging, commands, mean_of, no_chart, plural

LINKS = (("panel", "panel.png"), ("strip", "strip.png"), ("config", "config.yaml"), ("metrics", "metrics.json"))
FOLDER = "summary"  # of the plots, beside the page


def heat_names(maps: Sequence[HeatMap]) -> list[str]:
    """Return the file names of the heat maps."""
    keys = [re.sub(r"[^A-Za-z0-9._-]", "_", f"{heat.row_key}-{heat.column_key}")[:100] for heat in maps]
    return [f"heat-{i:02d}-{key}.png" for i, key in enumerate(keys, 1)]


def render(
    study: Study,
    cost: Cost,
    *,
    drawn: Collection[str],
    maps: Sequence[HeatMap],
    left_out: str,
    shown: Sequence[Shown],
    more: int,
) -> str:
    """Return the page.

    Args:
        study: What was read.
        cost: Of its complete jobs.
        drawn: Names of the plots that lie in ``summary/``.
        maps: Heat maps, in the order of `heat_names`.
        left_out: What is said of maps that there are not.
        shown: Results to show.
        more: How many results are not among them.
    """
    front = front_of(measured(study))
    over = problems(study)
    table = rows(study.jobs, study.swept)
    shape = shown_columns(study.swept, table)
    return _template().render(
        title=study.title,
        jobs=len(study.jobs),
        counts=study.counts,
        swept=study.swept,
        constant=study.constant,
        cost=cost,
        duration=duration,
        plural=plural,
        row=study.row,
        output=study.output,
        commands=commands(study),
        averaging=averaging(study),
        against_no_dip=against_no_dip(study),
        mean=mean_of(over) if over.averaged else "",
        no_chart=no_chart(study),
        errors=_errors(study),
        best=_best(study),
        baseline=_best_baseline(study),
        chart=f"{FOLDER}/quality.png" if "quality.png" in drawn else None,
        looks=STLPIPS[0] in shape,
        perception=f"{FOLDER}/perception.png" if "perception.png" in drawn else None,
        front=[{**_told(study, point.jobs), "worth": point.worth, "psnr": point.psnr} for point in front],
        maps=[
            {
                "src": f"{FOLDER}/{quote(name)}",
                "title": f"{heat.row_key} × {heat.column_key}",
                "caption": plots.caption(heat),
            }
            for name, heat in zip(heat_names(maps), maps, strict=True)
        ],  # fmt: skip
        left_out=left_out,
        results=[
            {
                "src": _url(s.job, f"{study.row}.png"),
                "url": _url(s.job, "panel.png" if "panel.png" in s.job.files else ""),
                "text": s.text,
            }
            for s in shown
        ],  # fmt: skip
        more=more,
        sheet=f"{FOLDER}/results.png" if "results.png" in drawn else None,
        groups=_groups(shape),
        columns=shape,
        numeric=_numeric(study, shape),
        rows=_rows(study, table, shape, {job.name for point in front for job in point.jobs}),
    )


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(Path(__file__).with_name("page.html.j2").read_text(encoding="utf-8"))


def _rows(
    study: Study, table: Sequence[dict[str, Value]], shape: Sequence[Column], front: Collection[str]
) -> list[dict[str, Any]]:
    """Return what the table shows: of each cell its text, what to sort by, and whether it is a number."""
    ranks: dict[str, dict[Any, int]] = {}
    for column in shape:
        if column.key is not None:
            values = sorted({str(row[column.name]) for row in table}, key=natural)
            ranks[column.name] = {value: i for i, value in enumerate(values)}
    ranks["job"] = {job.name: i for i, job in enumerate(study.jobs)}
    made = []
    for job, row in zip(study.jobs, table, strict=True):
        told = label({key: short(value) for key, value in job.overrides.items()}, study.swept)
        cells = []
        for column in shape:
            value = row[column.name]
            sort = ranks[column.name][value] if column.name in ranks and value is not None else value
            text = told or job.name if column.name == "job" else in_words(value, column.digits)
            cells.append((text, sort))
        made.append(
            {"cells": cells, "url": _url(job), "slug": job.name, "status": job.status, "front": job.name in front,
             "links": _links(job)}
        )  # fmt: skip
    return made


def _numeric(study: Study, shape: Sequence[Column]) -> set[str]:
    """Return the names of the columns of numbers; an override's is one when all its values are numbers."""
    names = {column.name for column in shape if column.digits is not None}
    for column in shape:
        values = {job.overrides.get(column.key or "") for job in study.jobs} - {None}
        if column.key is not None and all(is_number(str(value)) for value in values):
            names.add(column.name)
    return names


def _groups(shape: Sequence[Column]) -> list[tuple[str, int]]:
    """Return the headings over the columns, with how many each spans."""
    groups: list[tuple[str, int]] = []
    for column in shape:
        if groups and groups[-1][0] == column.group:
            groups[-1] = column.group, groups[-1][1] + 1
        else:
            groups.append((column.group, 1))
    return groups


def _errors(study: Study) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return each distinct error line with the failed jobs that have it, as (name, link)."""
    found: dict[str, list[tuple[str, str]]] = {}
    for job in study.jobs:
        if job.status == "failed" and job.error is not None:
            found.setdefault(job.error, []).append((name_of(study, [job]), _url(job)))
    return list(found.items())


def _best(study: Study) -> dict[str, Any] | None:
    found = best(study)
    return None if found is None else {**_told(study, found[0]), "psnr": found[1]}


def _best_baseline(study: Study) -> tuple[float, float] | None:
    """Return (PSNR in dB, cost in evaluations) of the best start without a DIP."""
    points = [(psnr, cost) for cost, psnr in without_a_dip(study)]
    return max(points, key=lambda point: (point[0], -point[1]), default=None)


def _told(study: Study, jobs: Sequence[Job]) -> dict[str, Any]:
    """Return the name of a job with its link, or of the jobs of a mean with the link of each."""
    keys = problems(study).keys
    each = [{"name": label(job.overrides, keys) or job.name, "url": _url(job)} for job in jobs]
    return {"name": name_of(study, jobs), "url": _url(jobs[0]) if len(jobs) == 1 else None, "jobs": each}


def _links(job: Job) -> list[tuple[str, str]]:
    logs = [("log", name) for name in sorted(job.files) if name.endswith(".log")]
    return [(word, _url(job, name)) for word, name in (*LINKS, *logs) if name in job.files]


def _url(job: Job, name: str = "") -> str:
    return f"{quote(job.name)}/{quote(name)}"
