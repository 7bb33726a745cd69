"""The results of a run of the harness: JSON, a Markdown table, and the same table in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from bench.pairs import Outcome, Spread

COLUMNS = ("row", "A", "B", "ratio", "wanted", "reached", "quality, A and B", "floor of A")


def as_json(outcomes: Sequence[Outcome], machine: Mapping[str, Any], command: str) -> dict[str, Any]:
    """Return all values as JSON types."""
    return {"command": command, "machine": dict(machine), "rows": [_entry(one) for one in outcomes]}


def _entry(one: Outcome) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": one.row.name, "a": one.row.subject, "b": one.row.against, "wanted": str(one.limit),
        "device": one.row.device,
    }  # fmt: skip
    if one.why_not:
        return entry | {"why_not": one.why_not}
    assert one.quality is not None
    return entry | {
        "unit": one.unit,
        "values": one.values,
        "median": {name: Spread.of(values).median for name, values in one.values.items()},
        "ratios": one.ratios,
        "ratio": asdict(one.ratio),
        "reached": one.reached,
        "quality": asdict(one.quality),
        "floor": None if one.floor is None else asdict(one.floor) | {"value": one.floor.value},
        "notes": list(one.notes),
        "seconds": one.seconds,
    }


def cells(one: Outcome) -> list[str]:
    """Return the cells of a row that was measured, in the order of `COLUMNS`."""
    assert one.quality is not None
    (a, first), (b, second), *others = one.values.items()
    q, ratio = one.quality, one.ratio
    values = " and ".join(one if isinstance(one, str) else f"{one:.4g}" for one in (q.a, q.b))
    floor = "-"
    if one.floor is not None:
        times = Spread.of(first).median / one.floor.value
        work = f"{_number(one.floor.value)} {one.unit} ({_number(one.floor.gflop)} GFLOP)"
        floor = f"{work}; A takes {times:.1f} times that"
    beside = "".join(f"; {name}: {_number(Spread.of(v).median)} {one.unit}" for name, v in others)
    return [
        f"`{one.row.name}`: {one.row.subject}",
        f"{a}: {_number(Spread.of(first).median)} {one.unit}",
        f"{b}: {_number(Spread.of(second).median)} {one.unit}{beside}",
        f"{ratio.median:.2f} ({ratio.least:.2f} to {ratio.largest:.2f}; rounds: {len(first)})",
        str(one.limit),
        "yes" if one.reached else "no" if q.equal else "no: the quality differs",
        f"{q.figure}: {values}",
        floor,
    ]


def markdown(outcomes: Sequence[Outcome], machine: Mapping[str, Any], command: str) -> str:
    """Return the page: the command, the machine, the table, and the rows that were not measured."""
    done = [one for one in outcomes if not one.why_not]
    lines = [f"    {command}", "", *_machine(machine), ""]
    if done:
        lines += [_line(COLUMNS), _line(["---"] * len(COLUMNS)), *(_line(cells(one)) for one in done), ""]
    lines += [f"- `{one.row.name}`: {'; '.join(one.notes)}." for one in done if one.notes]
    missing = [one for one in outcomes if one.why_not]
    if missing:
        lines += ["", "Not measured:", ""]
        lines += [f"- `{one.row.name}` ({one.row.subject}; {one.limit}): {one.why_not}." for one in missing]
    return "\n".join(lines).strip("\n").replace("\n\n\n", "\n\n") + "\n"


def _machine(machine: Mapping[str, Any]) -> list[str]:
    return [
        f"{key}: {', '.join(map(str, value)) if isinstance(value, list) else value}  " for key, value in machine.items()
    ]


def _line(values: Sequence[str]) -> str:
    return f"| {' | '.join(value.replace('|', '/') for value in values)} |"


def table(outcomes: Sequence[Outcome]) -> Table:
    """Return the table for the terminal."""
    shown = Table(title="A against B, medians of paired rounds", show_lines=True)
    for column in COLUMNS:
        shown.add_column(column)
    for one in outcomes:
        name = f"{one.row.name}: {one.row.subject}"
        shown.add_row(*([name, "not measured", one.why_not, "", str(one.limit)] if one.why_not else cells(one)))
    return shown


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
