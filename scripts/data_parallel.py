"""Several processes that share each batch, one thread each.

Two threads of one process wait for each other in every layer, so that any other work on the machine stops both; two
processes wait once a step. On two busy cores this was several times as fast, on quiet ones about as fast.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn


def spawn(processes: int, work: Callable[..., None], *args: Any) -> None:
    """Call ``work(*args)`` in that many processes of one thread each, and wait for them; in this one if it is one."""
    if processes == 1:
        work(*args)
        return
    os.environ["OMP_NUM_THREADS"] = "1"  # of the children, which import torch anew
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_join, (processes, Path(folder, "meet"), work, args), nprocs=processes)  # pyright: ignore[reportPrivateImportUsage]


def rank() -> int:
    """Return which of the processes this one is, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def share(batch: torch.Tensor) -> torch.Tensor:
    """Return this process's part of a batch that all have drawn alike."""
    return batch[rank() :: distributed.get_world_size()] if distributed.is_initialized() else batch


def agree(decision: bool) -> bool:
    """Return what the first of the processes decided."""
    if not distributed.is_initialized():
        return decision
    flag = torch.tensor(int(decision))
    distributed.broadcast(flag, 0)
    return bool(flag)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes, whose parts of the batch are of one size."""
    if not distributed.is_initialized():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    for g, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        g.copy_(mean.view(g.shape))


def _join(index: int, processes: int, meet: Path, work: Callable[..., None], args: tuple) -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    distributed.init_process_group("gloo", init_method=f"file://{meet}", rank=index, world_size=processes)
    try:
        work(*args)
    finally:
        distributed.destroy_process_group()


def _end_with_parent() -> None:
    """Leave when the process that was started by hand is gone: killed, it cannot tell."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
