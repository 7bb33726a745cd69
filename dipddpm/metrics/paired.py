"""Means over pictures, and mean differences of two methods on the same pictures, with Student's confidence intervals.

Pictures differ in difficulty far more than methods differ in quality. So a difference is taken for each picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True)
class Difference:
    """A mean difference over ``count`` pairs, with its confidence interval from ``low`` to ``high``."""

    mean: float
    low: float
    high: float
    count: int

    def __format__(self, spec: str) -> str:
        spec = spec or "+.2f"
        return f"{self.mean:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"

    def __str__(self) -> str:
        return format(self)


def half_width(numbers: Sequence[float]) -> float:
    """Return half the width t s / sqrt(n) of the 95% confidence interval of a mean.

    s is the standard deviation of the numbers, and t the quantile of Student's distribution with n - 1 degrees of
    freedom.

    Args:
        numbers: One number for each picture.

    Raises:
        ValueError: For fewer than 2 numbers.
    """
    from scipy.special import stdtrit  # scipy.stats, which has the same quantile, takes a second to import

    if len(numbers) < 2:
        raise ValueError(f"{len(numbers)} numbers: must be 2 or more")
    t = float(stdtrit(len(numbers) - 1, 0.975))
    return t * stdev(numbers) / math.sqrt(len(numbers))


def paired_difference(a: Sequence[float], b: Sequence[float]) -> Difference:
    """Return the mean of a - b with its interval (`half_width`).

    Args:
        a: One number for each picture.
        b: The numbers of the other method for the same pictures, in the same order.

    Raises:
        ValueError: When a and b differ in length, or hold fewer than 2 numbers.
    """
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(f"{len(a)} and {len(b)} numbers: both must have the same length, 2 or more")
    differences = [x - y for x, y in zip(a, b, strict=True)]
    mean, half = fmean(differences), half_width(differences)
    return Difference(mean, mean - half, mean + half, len(a))
