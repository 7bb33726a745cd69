"""Mean quality over two of the keys that a sweep varies."""

from __future__ import annotations

from itertools import combinations

import pandas as pd

from dipddpm.study.frame import psnr_of, swept
from dipddpm.study.labels import as_text, natural
from dipddpm.study.points import points

MOST_VALUES = 40  # of a key; a random search over a continuous one has a value a job, and a map shows nothing
MOST_MAPS = 15  # all pairs of six keys


def heat_maps(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the mean PSNR in dB over each pair of swept keys, missing where no job has one.

    The values of one key stand down the side, those of the other along the top, in natural order. Every value that any
    job has gets its place. Where the chart's points are means over problems, a setting that lacks a problem is left out
    here too: without a hard picture its mean would be higher.
    """
    texts = frame[swept(frame)].astype(object).map(as_text)
    keys = [key for key in swept(frame) if texts[key].nunique() <= MOST_VALUES]
    counted = points(frame, [psnr_of(frame)])["jobs"].explode().tolist()
    psnr = frame.loc[counted, psnr_of(frame)].astype(float)
    maps = []
    for pair in list(combinations(keys, 2))[:MOST_MAPS] if counted else []:
        down, along = (pd.Index(sorted(set(texts[key]), key=natural), name=key) for key in pair)
        means = psnr.groupby([texts.loc[counted, key] for key in pair]).mean()
        maps.append(means.unstack().reindex(index=down, columns=along))
    return maps
