"""Obtain the fits of many pictures. A fit that fails gives its exception, and the other fits go on.

On a GPU fits of one size are stacked: one network with N sets of weights. On a CPU a stack is no faster, and fits run
in processes of one thread, as many as the cores.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dipddpm.dip import fitting, networks
from dipddpm.dip.fitting import RunSettings
from dipddpm.dip.module import DeepImagePrior
from dipddpm.dip.stopping import Stopping
from dipddpm.dip.writing import end_with_parent
from dipddpm.errors import FitFailed
from dipddpm.fits.choice import Choice
from dipddpm.fits.fit import Wanted
from dipddpm.fits.keeping import FolderKeeper
from dipddpm.fits.manifest import Damaged, Fit
from dipddpm.fits.store import FitStore, fit_key

log = logging.getLogger(__name__)
MOST = 1024  # fits in a stack
OF_MEMORY = 0.6  # share of a GPU's free memory that a stack may take, by the estimate of `bytes_of`
Used = Callable[[str], None]


@dataclass(frozen=True)
class Obtained:
    """A stored fit, the epoch of it that was chosen, and whether the fit was made or extended now."""

    fit: Fit
    choice: Choice
    made: bool


def obtain_all(
    store: FitStore,
    wanted: Sequence[Wanted],
    run: RunSettings,
    *,
    batch: int | str = "auto",
    used: Used | None = None,
    ended: Callable[[int], None] | None = None,
) -> list[Obtained | Exception]:
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
    """
    answers: dict[int, Obtained | Exception] = {}

    def end(i: int, answer: Obtained | Exception) -> None:
        answers[i] = answer
        if ended:
            ended(i)

    missing = []
    for i, one in enumerate(wanted):
        try:
            there = store.there(one.request, one.choose)
        except Exception as error:
            end(i, error)
            continue
        if there:
            end(i, Obtained(*there, made=False))
        else:
            missing.append(i)
    if run.device.startswith("cuda") and batch != 1:
        missing = _by_stacks(store, wanted, missing, replace(run, progress=False), batch, used, end)
    workers = min(torch.get_num_threads(), len(missing), batch if isinstance(batch, int) else len(missing))
    if run.device == "cpu" and workers > 1 and not torch.cuda.is_initialized():  # CUDA does not outlive a fork
        _by_processes(store, wanted, missing, replace(run, progress=False), workers, used, end)
    else:
        for i in missing:
            end(i, _one(store, wanted[i], run, used))
    return [answers[i] for i in range(len(wanted))]


def _one(store: FitStore, wanted: Wanted, run: RunSettings, used: Used | None) -> Obtained | Exception:
    def work(folder: Path, key: str, before: Fit | None) -> None:
        if used:
            used(key)
        wanted.make_in(folder, key, before, run)

    try:
        return Obtained(*store.obtain(wanted.request, wanted.choose, work))
    except Exception as error:
        return error


_WORK: tuple[FitStore, Sequence[Wanted], RunSettings, Used | None] | None = None  # that forked processes inherit


def _by_processes(
    store: FitStore,
    wanted: Sequence[Wanted],
    missing: Sequence[int],
    run: RunSettings,
    workers: int,
    used: Used | None,
    end: Callable[[int, Obtained | Exception], None],
) -> None:
    """Make fits in forked processes of one thread, as torch's data loader forks its workers."""
    global _WORK
    _WORK = store, wanted, run, used
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), initializer=end_with_parent)
    try:
        futures = {pool.submit(_in_process, i): i for i in missing}
        for future in as_completed(futures):
            i = futures[future]
            try:
                answer: Obtained | Exception | None = future.result()
                if answer is None:
                    there = store.there(wanted[i].request, wanted[i].choose)
                    answer = Obtained(*there, made=True) if there else RuntimeError("the new fit is gone or damaged")
            except BrokenExecutor:
                answer = RuntimeError(
                    "a process that made fits was killed, perhaps for want of memory; type the same command again"
                )
            except Exception as failed:
                answer = failed
            end(i, answer)
    except BaseException:  # such as Ctrl-C: a stored fit goes on from its last commit, and nobody waits for the others
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        _WORK = None


def _in_process(i: int) -> Exception | None:
    assert _WORK is not None
    store, wanted, run, used = _WORK
    answer = _one(store, wanted[i], run, used)
    return answer if isinstance(answer, Exception) else None


def _by_stacks(
    store: FitStore,
    wanted: Sequence[Wanted],
    missing: Sequence[int],
    run: RunSettings,
    batch: int | str,
    used: Used | None,
    end: Callable[[int, Obtained | Exception], None],
) -> list[int]:
    """Make fits in stacks. Return the indices of those that are left, because they cannot be stacked.

    Once half of the fits of a stack have stopped, the others go on in a smaller stack.
    """
    left, waiting, most = [], list(missing), min(MOST, batch) if isinstance(batch, int) else MOST
    while waiting:
        group = _group(store, wanted, waiting)
        size = min(most, room_for(wanted[group[0]], run.device)) if batch == "auto" else most
        group = group[:size]
        try:
            if len(group) < 2:
                raise ValueError("one fit is no stack")
            done = stack(store, [wanted[i] for i in group], run, used)
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            most = len(group) // 2
            log.info("%d fits at once do not fit into the memory of the GPU: %d are tried", len(group), max(1, most))
            continue
        except Exception as error:  # such as an operation that cannot be stacked
            if len(group) > 1:
                log.info("%d fits go on one by one: %s", len(group), error)
            left += group
            done = [None] * len(group)
        waiting = [i for i in waiting if i not in group]
        for i, answer in zip(group, done, strict=True):
            if answer is not None:
                end(i, answer)
            elif i not in left:
                waiting.append(i)
    return left


def _group(store: FitStore, wanted: Sequence[Wanted], waiting: Sequence[int]) -> list[int]:
    """Return the fits that can be stacked with the first one: of the same network, size, operator and epochs."""

    def kind(i: int) -> tuple[object, ...]:
        one = wanted[i]
        fit = None
        with suppress(Damaged):  # a damaged fit is made again from its first epoch
            fit = store.find(fit_key(one.request))
        p = one.problem
        return (one.settings, tuple(p.noisy.shape), one.seed, p.operator.alike, p.clean is None,
                one.checkpoint if isinstance(one.checkpoint, int) else None, fit.epochs if fit else 0)  # fmt: skip

    first = kind(waiting[0])
    return [i for i in waiting if kind(i) == first]


def stack(
    store: FitStore, wanted: Sequence[Wanted], run: RunSettings, used: Used | None = None
) -> list[Obtained | Exception | None]:
    """Make or extend fits of one kind at once, until half of them have stopped.

    Returns:
        The fits that are long enough, and the exceptions of those that failed; None for those that must go on.
    """
    keys = [fit_key(one.request) for one in wanted]
    found: dict[str, Obtained | Exception | None] = dict.fromkeys(keys)
    with ExitStack() as held:
        work: dict[str, tuple[Wanted, Fit | None]] = {}
        for key, one in sorted(zip(keys, wanted, strict=True), key=lambda pair: pair[0]):  # two processes: one order
            if key in work or found[key]:
                continue
            held.enter_context(store.lock(key))
            fit, choice = store.prepare(one.request, one.choose)
            if fit and choice:
                found[key] = Obtained(fit, choice, made=False)
            else:
                work[key] = one, fit
        if len({fit.epochs if fit else 0 for _, fit in work.values()}) > 1:
            return [found[key] for key in keys]  # another process went on with some of them
        if used:
            for key in work:
                used(key)
        errors = _fit_stack(store, work, run) if work else {}
        for key, (one, _) in work.items():
            fit = store.find(key)
            choice = one.choose(fit) if fit else None
            found[key] = Obtained(fit, choice, made=True) if fit and choice else errors.get(key)
    return [found[key] for key in keys]


def _fit_stack(store: FitStore, work: dict[str, tuple[Wanted, Fit | None]], run: RunSettings) -> dict[str, FitFailed]:
    """Run the fits at once. Return the errors of those that failed."""
    members = [one for one, _ in work.values()]
    problems = [one.problem for one in members]
    operators = [p.operator for p in problems]
    clean = [p.clean for p in problems if p.clean is not None]
    module = DeepImagePrior(
        torch.cat([p.noisy for p in problems]), torch.cat(clean) if clean else None,
        y=torch.cat([p.y for p in problems]),
        operator=type(operators[0]).joined(operators), settings=members[0].settings,
        seed=members[0].seed, contents=[p.content for p in problems],
    )  # fmt: skip
    keepers = [FolderKeeper(store.folder(key), key, one.problem.content, fit) for key, (one, fit) in work.items()]
    given = members[0].checkpoint if isinstance(members[0].checkpoint, int) else None
    rules = [Stopping("never") if given else one.rule for one in members]
    fitting.run(module, keepers, rules, given or members[0].settings.max_epochs, run)
    return {key: module.errors[i] for i, key in enumerate(work) if i in module.errors}


def room_for(wanted: Wanted, device: str) -> int:
    """Return how many fits of this kind the free memory of a GPU is estimated to hold."""
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, int(OF_MEMORY * free / bytes_of(wanted)))


def bytes_of(wanted: Wanted) -> int:
    """Estimate the bytes of one fit: weights, gradients and Adam's averages, three times the outputs of its layers
    (output, gradient and a copy in another precision or order), and the pictures of the ring buffer.
    """
    network = networks.build(wanted.settings, torch.Generator()).to("meta")
    outputs = [0]

    def count(module: torch.nn.Module, given: object, output: torch.Tensor) -> None:
        outputs[0] += output.numel() if not list(module.children()) else 0

    for module in network.modules():
        module.register_forward_hook(count)
    shape = wanted.problem.noisy.shape
    network(torch.zeros(shape, device="meta"))
    weights = sum(p.numel() for p in network.parameters())
    return 4 * (4 * weights + 3 * outputs[0] + 110 * shape[1:].numel())
