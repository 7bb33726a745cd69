"""For Lightning a fit is the one process of its job, whatever a launcher or a notebook left in the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytorch_lightning.utilities.rank_zero import rank_zero_only

ranked: Any = rank_zero_only  # a function with an attribute: Lightning logs and keeps where its `rank` is 0
# Variables of a launcher, and those that change defaults of Lightning's Trainer, and so results.
LEFT = re.compile(r"(LOCAL_|NODE_|GROUP_)?RANK|WORLD_SIZE|PL_TRAINER_.*")


@contextmanager
def alone() -> Iterator[None]:
    """Let Lightning log and keep as the first process inside the block. Rank and variables are put back afterwards."""
    rank, hidden = ranked.rank, {name: os.environ.pop(name) for name in list(os.environ) if LEFT.fullmatch(name)}
    ranked.rank = 0
    try:
        yield
    finally:
        ranked.rank = rank
        os.environ.update(hidden)
