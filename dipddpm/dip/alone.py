"""For Lightning a fit is the one process of its job, whatever a launcher or a notebook left in the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

ranked: Any = rank_zero_only  # a function with an attribute: Lightning logs and keeps where its `rank` is 0
DEFAULTS = "PL_TRAINER_"  # variables of this beginning change defaults of Lightning's Trainer, and so results


class Alone(LightningEnvironment):
    """The one process of a fit. Lightning would read ``RANK``, ``WORLD_SIZE`` and the variables of SLURM."""

    @property
    def creates_processes_externally(self) -> bool:
        return False

    def local_rank(self) -> int:
        return 0

    def node_rank(self) -> int:
        return 0

    def teardown(self) -> None:
        pass  # Lightning's own removes WORLD_SIZE from the environment of its caller


@contextmanager
def alone() -> Iterator[None]:
    """Let Lightning log and keep as the first process inside the block. Its rank is put back afterwards."""
    rank, hidden = ranked.rank, {k: os.environ.pop(k) for k in list(os.environ) if k.startswith(DEFAULTS)}
    ranked.rank = 0
    try:
        yield
    finally:
        ranked.rank = rank
        os.environ.update(hidden)
