"""Obtain the fits of many pictures. A fit that fails gives its exception, and the other fits go on.

On a GPU fits of one kind are stacked (`dipddpm.fits.stacks`). On a CPU a stack is no faster, and fits run in processes
of one thread, as many as the cores.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch

from dipddpm.dip.fitting import RunSettings
from dipddpm.dip.writing import end_with_parent
from dipddpm.fits.manifest import Fit
from dipddpm.fits.stacks import in_stacks
from dipddpm.fits.store import FitStore
from dipddpm.fits.wanted import Answer, Obtained, Wanted


def obtain_all(
    store: FitStore,
    wanted: Sequence[Wanted],
    run: RunSettings,
    *,
    batch: int | str = "auto",
    used: Callable[[str], None] = lambda key: None,
    ended: Callable[[int], None] = lambda i: None,
) -> list[Answer]:
    """Return the stored fit of each wanted one, in order. Missing and too short fits are made or extended.

    Args:
        store: The store of the fits.
        wanted: The fits, each of one picture.
        run: Device and display. The progress bar of a fit is shown where fits run one after the other.
        batch: Fits that are made at once: a number, or ``auto`` (CPU: torch's threads; GPU: by the memory there is).
        used: A function of a fit's key. It is called before work on the fit begins.
        ended: A function of an index in ``wanted``. It is called once its fit is there, or has failed.

    Returns:
        For each wanted fit the obtained one, or the exception that it failed with.

    Raises:
        OSError: Of the first fit that cannot be read or written. Stored fits stay.
    """
    answers: dict[int, Answer] = {}
    with closing(_answers(store, wanted, run, batch, used)) as found:
        for i, answer in found:
            if isinstance(answer, OSError):  # such as a full disk, on which the other fits would fail, too
                raise answer
            answers[i] = answer
            ended(i)
    return [answers[i] for i in range(len(wanted))]


def _answers(
    store: FitStore, wanted: Sequence[Wanted], run: RunSettings, batch: int | str, used: Callable[[str], None]
) -> Generator[tuple[int, Answer], None, None]:
    """Yield the index and the answer of each wanted fit, as soon as it is known."""
    missing: dict[int, Wanted] = {}
    for i, one in enumerate(wanted):
        try:
            there = store.there(one.request, one.choose)
        except Exception as error:
            yield i, error
            continue
        if there:
            yield i, Obtained(*there, made=False)
        else:
            missing[i] = one
    quiet = replace(run, progress=False)
    if run.device.startswith("cuda") and batch != 1:
        missing = yield from in_stacks(store, missing, quiet, batch, used)
    workers = min(torch.get_num_threads(), len(missing), batch if isinstance(batch, int) else len(missing))
    if run.device == "cpu" and workers > 1 and not torch.cuda.is_initialized():  # CUDA does not outlive a fork
        yield from _in_processes(missing, workers, lambda i: _one(store, missing[i], quiet, used))
    else:
        for i, one in missing.items():
            yield i, _one(store, one, run, used)


def _one(store: FitStore, wanted: Wanted, run: RunSettings, used: Callable[[str], None]) -> Answer:
    def work(folder: Path, key: str, before: Fit | None) -> None:
        used(key)
        wanted.make_in(folder, key, before, run)

    try:
        return Obtained(*store.obtain(wanted.request, wanted.choose, work))
    except Exception as error:
        return error


def _in_processes(
    missing: Mapping[int, Wanted], workers: int, make: Callable[[int], Answer]
) -> Iterator[tuple[int, Answer]]:
    """Make fits in forked processes of one thread, as torch's data loader forks its workers."""
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), _begin_process, (make,))
    try:
        futures = {pool.submit(_make_in_process, i): i for i in missing}
        for future in as_completed(futures):
            try:
                answer = future.result()
            except BrokenExecutor:
                answer = RuntimeError(
                    "a process that made fits was killed, perhaps for want of memory; type the same command again"
                )
            except Exception as failed:
                answer = failed
            yield futures[future], answer
    except BaseException:  # such as Ctrl-C: a stored fit goes on from its last commit, and nobody waits for the others
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


_make: Callable[[int], Answer]  # of a forked process: its fork inherits rules that cannot be pickled


def _begin_process(make: Callable[[int], Answer]) -> None:
    global _make
    end_with_parent()
    _make = make


def _make_in_process(i: int) -> Answer:
    return _make(i)
