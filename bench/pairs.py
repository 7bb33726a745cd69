"""Measure two programs in turn, and compare their results.

A row is a pair: A is a program of this project, and B is the program that A is compared with. Each round runs both in
turn, so that other work on the machine slows both. The figure of a row is the median of the rounds' ratios.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


class CannotMeasure(Exception):
    """A row that this machine or this setting cannot measure. The text says why, and what would help."""


@dataclass(frozen=True)
class Sample:
    """One run of one side: the value that is compared, such as seconds, and an output that shows the quality."""

    value: float
    output: Any


@dataclass(frozen=True)
class Side:
    """One of the programs of a pair, and its name in the table. ``run`` runs the program once."""

    name: str
    run: Callable[[], Sample]


@dataclass(frozen=True)
class Limit:
    """The least or the largest ratio that a row must reach.

    ``at most`` is for the value of A divided by that of B, ``at least`` for the value of B divided by that of A.
    """

    kind: Literal["at most", "at least"]
    ratio: float

    def of(self, a: float, b: float) -> float:
        return a / b if self.kind == "at most" else b / a

    def reached(self, ratio: float) -> bool:
        return ratio <= self.ratio if self.kind == "at most" else ratio >= self.ratio

    def __str__(self) -> str:
        return f"{self.kind} {self.ratio:g}"


@dataclass(frozen=True)
class Quality:
    """The quality of both sides: the name of the figure, its value of each side, and whether they count as equal."""

    figure: str
    a: float | str
    b: float | str
    equal: bool


@dataclass(frozen=True)
class Floor:
    """The least time that the arithmetic of A takes on this machine.

    Attributes:
        gflop: Operations of A, by torch's counter.
        rate: Measured rate of a matrix product of the same precision, in GFLOP/s.
        scale: Units of the row's values in a second.
    """

    gflop: float
    rate: float
    scale: float = 1.0

    @property
    def value(self) -> float:
        return self.gflop / self.rate * self.scale


@dataclass(frozen=True)
class Pair:
    """Two programs that are ready to run.

    Attributes:
        a: The program of this project.
        b: The program that A is compared with.
        compare: A function of both outputs, which gives the quality.
        unit: The unit of the values.
        floor: A function that gives the floor of A, called after the runs; None where there is none.
        others: Further programs, run in each round and shown beside A and B.
        warm_up: Whether a first run of each side is not counted.
        rounds: The largest number of rounds; None: that of the setting.
        notes: Facts for the reader; a run may add some.
        limit: The limit on this machine, where it is not that of the row.
    """

    a: Side
    b: Side
    compare: Callable[[Any, Any], Quality]
    unit: str = "s"
    floor: Callable[[], Floor] | None = None
    others: tuple[Side, ...] = ()
    warm_up: bool = True
    rounds: int | None = None
    notes: list[str] = field(default_factory=list)
    limit: Limit | None = None


@dataclass(frozen=True)
class Measured:
    """The values of each side by its name, A first, then B, and the quality of the first run of A and B."""

    values: dict[str, list[float]]
    quality: Quality


@dataclass(frozen=True)
class Row:
    """A pair by its name, and the limit that it must reach.

    Attributes:
        name: The name to type.
        subject: A, in words.
        against: B, in words.
        limit: The limit.
        device: ``cpu`` or ``cuda``.
        prepare: Makes the pair of a setting, or raises `CannotMeasure`.
        quick: Whether ``--quick`` or ``--gpu`` runs the row.
    """

    name: str
    subject: str
    against: str
    limit: Limit
    device: Literal["cpu", "cuda"]
    prepare: Callable[[Any], Pair]
    quick: bool = True


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of some values."""

    median: float
    least: float
    largest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Outcome:
    """The result of a row. ``why_not`` is the reason where the row was not measured; all else is empty then."""

    row: Row
    limit: Limit
    why_not: str = ""
    values: dict[str, list[float]] = field(default_factory=dict)
    quality: Quality | None = None
    unit: str = ""
    floor: Floor | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def ratios(self) -> list[float]:
        """The ratio of each round."""
        a, b, *_ = self.values.values()
        return [self.limit.of(x, y) for x, y in zip(a, b, strict=True)]

    @property
    def ratio(self) -> Spread:
        return Spread.of(self.ratios)

    @property
    def reached(self) -> bool:
        """Whether the median ratio keeps the limit, at equal quality."""
        return self.quality is not None and self.quality.equal and self.limit.reached(self.ratio.median)


def in_turn(pair: Pair, rounds: int, seconds: float) -> Measured:
    """Run the sides of a pair in turn, each first in every other round.

    Args:
        pair: The pair.
        rounds: The largest number of rounds; at least one is run.
        seconds: The time after which no further round begins.
    """
    began = time.perf_counter()
    sides = [pair.a, pair.b, *pair.others]
    values: dict[str, list[float]] = {side.name: [] for side in sides}
    quality = None
    if pair.warm_up:
        quality = pair.compare(*[side.run().output for side in sides][:2])
    for i in range(pair.rounds or rounds):
        if i and time.perf_counter() - began > seconds:
            break
        samples = {side.name: side.run() for side in (sides[::-1] if i % 2 else sides)}
        for name, sample in samples.items():
            values[name].append(sample.value)
        quality = quality or pair.compare(samples[pair.a.name].output, samples[pair.b.name].output)
    assert quality is not None
    return Measured(values, quality)


def measure(row: Row, setting: Any, rounds: int, seconds: float) -> Outcome:
    """Measure a row; a row that cannot be measured gives its reason."""
    began = time.perf_counter()
    try:
        pair = row.prepare(setting)
        found = in_turn(pair, rounds, seconds)
        floor = pair.floor() if pair.floor else None
    except CannotMeasure as error:
        return Outcome(row, row.limit, why_not=str(error))
    except RuntimeError as error:  # such as too little memory on a GPU: the other rows are measured
        return Outcome(row, row.limit, why_not=f"ended with an error: {error}")
    return Outcome(
        row, pair.limit or row.limit, values=found.values, quality=found.quality, unit=pair.unit,
        floor=floor, notes=tuple(pair.notes), seconds=time.perf_counter() - began,
    )  # fmt: skip


def close(figure: str, allowed: float) -> Callable[[float, float], Quality]:
    """Return a comparison of two numbers, which are equal within ``allowed``."""
    return lambda a, b: Quality(f"{figure} (within {allowed:g})", a, b, abs(a - b) <= allowed)


def not_worse(figure: str, allowed: float) -> Callable[[float, float], Quality]:
    """Return a comparison of two numbers: A may be better than B in any way, and worse by ``allowed``."""
    return lambda a, b: Quality(f"{figure} (A at most {allowed:g} worse)", a, b, a >= b - allowed)
