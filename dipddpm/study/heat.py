"""Heat maps: the mean quality over pairs of the keys that a sweep varies."""

from __future__ import annotations

from itertools import combinations

import pandas as pd

from dipddpm.study.frame import psnr_of, swept
from dipddpm.study.labels import as_text, natural
from dipddpm.study.points import points

MOST_VALUES = 40  # of a key; a search over a continuous key has another value in each job, which gives no map
MOST_MAPS = 15  # all pairs of six keys


def heat_maps(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """Return one table of mean PSNR in dB for each pair of swept keys; a cell without a PSNR is missing.

    The rows are the values of one key and the columns those of the other, in natural order, also values without a PSNR.
    Where a point of the chart is a mean over problems, a setting that lacks a problem is left out: without a hard
    picture its mean would be too high.
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
