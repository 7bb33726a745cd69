"""Mean quality over two of the keys that a sweep varies."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import combinations

from dipddpm.study.front import comparable
from dipddpm.study.order import UNSET, natural
from dipddpm.study.read import Study

MOST_VALUES = 40  # of a key; a random search over a continuous one has a value a job, and a map shows nothing
MOST_MAPS = 15  # all pairs of six keys


@dataclass(frozen=True)
class HeatMap:
    """Mean PSNR of the results, or of the DIP outputs where jobs only fitted, over two keys.

    Attributes:
        row_key: The key down the side.
        column_key: The key along the top.
        rows: Its values, in natural order.
        columns: Its values, in natural order.
        means: Mean PSNR in dB by row and column; None where no job has one.
        counts: How many jobs each mean is over.
        averaged: The other swept keys.
        output: What the quality is of: ``result`` or ``DIP output``.
    """

    row_key: str
    column_key: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    means: tuple[tuple[float | None, ...], ...]
    counts: tuple[tuple[int, ...], ...]
    averaged: tuple[str, ...]
    output: str


def heat_map(study: Study, row_key: str, column_key: str) -> HeatMap:
    """Return the mean PSNR over two swept keys; every value that any job has gets its place.

    Where the chart's points are means over problems, a setting that lacks one is left out, as it is there: without a
    hard picture its mean would be higher.
    """
    return _heat_map(study, {job.name for job in comparable(study)}, row_key, column_key)


def _heat_map(study: Study, counted: Collection[str], row_key: str, column_key: str) -> HeatMap:
    """Return the map of the jobs whose names are ``counted``."""
    cells: dict[tuple[str, str], list[float]] = {}
    for job in study.jobs:
        if not job.known:
            continue
        place = job.overrides.get(row_key, UNSET), job.overrides.get(column_key, UNSET)
        found = cells.setdefault(place, [])
        if job.name in counted and (psnr := study.psnr(job)) is not None:
            found.append(psnr)
    rows = tuple(sorted({row for row, _ in cells}, key=natural))
    columns = tuple(sorted({column for _, column in cells}, key=natural))
    grid = [[cells.get((row, column), []) for column in columns] for row in rows]
    return HeatMap(
        row_key=row_key,
        column_key=column_key,
        rows=rows,
        columns=columns,
        means=tuple(tuple(sum(cell) / len(cell) if cell else None for cell in line) for line in grid),
        counts=tuple(tuple(len(cell) for cell in line) for line in grid),
        averaged=tuple(key for key in study.swept if key not in (row_key, column_key)),
        output=study.output,
    )


def heat_maps(study: Study) -> tuple[list[HeatMap], str]:
    """Return a map for each pair of swept keys, and a sentence on what was left out (empty: nothing).

    Maps without any PSNR are left out too.
    """
    values = {key: {job.overrides.get(key) for job in study.jobs} for key in study.swept}
    keys = [key for key in study.swept if len(values[key]) <= MOST_VALUES]
    pairs = list(combinations(keys, 2))
    counted = {job.name for job in comparable(study)} if pairs else set()
    maps = [_heat_map(study, counted, *pair) for pair in pairs[:MOST_MAPS]]
    notes = []
    if many := [key for key in study.swept if key not in keys]:
        notes.append(f"{', '.join(many)} took more than {MOST_VALUES} values: no map of them.")
    if (more := len(pairs) - MOST_MAPS) > 0:
        notes.append(f"{more} more {'pair of keys is' if more == 1 else 'pairs of keys are'} not shown.")
    return [m for m in maps if any(map(any, m.counts))], " ".join(notes)
