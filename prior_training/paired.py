"""The mean difference of two measurements of the same pictures, and how sure it is.

Pictures differ in difficulty by far more than methods differ in quality, so only the differences per
picture are averaged; the interval is Student's, over pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True)
class Difference:
    """A mean difference with its confidence interval, over ``count`` pairs."""

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
    """Return the mean of a - b: mean +- t s / sqrt(n), t the quantile of Student's t with n - 1 degrees.

    Args:
        a: One number a picture.
        b: The same pictures' numbers by the other method, in the same order.
        confidence: Probability that an interval so made holds the true mean.

    Raises:
        ValueError: When the two differ in length or hold fewer than 2 pairs.
    """
    from scipy.stats import t  # comes with scikit-image

    if len(a) != len(b) or len(a) < 2:
        raise ValueError(f"{len(a)} and {len(b)} numbers: must be as many of both, at least 2")
    differences = [x - y for x, y in zip(a, b, strict=True)]
    mean = fmean(differences)
    half = float(t.ppf((1 + confidence) / 2, len(a) - 1)) * stdev(differences) / math.sqrt(len(a))
    return Difference(mean, mean - half, mean + half, len(a))
