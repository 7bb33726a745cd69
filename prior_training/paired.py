"""The mean difference of two methods on the same pictures, with its confidence interval.

Pictures differ in difficulty far more than methods differ in quality. The difference is therefore taken for each
picture. The interval is Student's, over the pictures.
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


def paired_difference(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> Difference:
    """Return the mean of a - b with the interval mean +- t s / sqrt(n).

    s is the standard deviation of the differences, and t the quantile of Student's distribution with n - 1 degrees of
    freedom.

    Args:
        a: One number for each picture.
        b: The numbers of the other method for the same pictures, in the same order.
        confidence: Probability that such an interval holds the true mean.

    Raises:
        ValueError: When a and b differ in length, or hold fewer than 2 numbers.
    """
    from scipy.stats import t  # scipy is a dependency of scikit-image

    if len(a) != len(b) or len(a) < 2:
        raise ValueError(f"{len(a)} and {len(b)} numbers: both must have the same length, 2 or more")
    differences = [x - y for x, y in zip(a, b, strict=True)]
    mean = fmean(differences)
    half = float(t.ppf((1 + confidence) / 2, len(a) - 1)) * stdev(differences) / math.sqrt(len(a))
    return Difference(mean, mean - half, mean + half, len(a))
