"""Make fits in stacks: one network with N sets of weights fits N pictures at once.

A GPU takes little longer for a stack of small pictures than for one of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace

import torch

from dipddpm import gpu
from dipddpm.degradation.problem import joined
from dipddpm.dip import fitting, networks
from dipddpm.dip.fitting import RunSettings
from dipddpm.errors import FitFailed
from dipddpm.fits.keeping import FolderKeeper
from dipddpm.fits.manifest import Damaged, Fit
from dipddpm.fits.store import FitStore, fit_key
from dipddpm.fits.wanted import Answer, Obtained, Wanted

log = logging.getLogger(__name__)
MOST = 1024  # fits in a stack
OF_MEMORY = 0.6  # share of a GPU's free memory that a stack may take, by the estimate of `bytes_of`


def in_stacks(
    store: FitStore, missing: Mapping[int, Wanted], run: RunSettings, batch: int | str, used: Callable[[str], None]
) -> Generator[tuple[int, Answer], None, dict[int, Wanted]]:
    """Make fits in stacks, each of fits of one kind. Yield the index and the answer of each fit that ended.

    Once half of the fits of a stack have stopped, the others go on in a smaller stack.

    Args:
        store: The store of the fits.
        missing: The wanted fits by index.
        run: Device and display.
        batch: The largest number of fits in a stack; ``auto``: by the free memory of the GPU.
        used: A function of a fit's key. It is called before work on the fit begins.

    Returns:
        The fits that are left, because they cannot be stacked.
    """
    left: dict[int, Wanted] = {}
    most = min(MOST, batch) if isinstance(batch, int) else MOST
    waiting = {i: _kind(store, one) for i, one in missing.items()}
    while waiting:
        gpu.release()  # the memory of the stack before
        first = next(iter(waiting))
        size = min(most, room_for(missing[first], run.device)) if batch == "auto" else most
        group = [i for i, kind in waiting.items() if kind == waiting[first]][:size]
        try:
            answers = stack(store, [missing[i] for i in group], run, used) if len(group) > 1 else None
        except torch.cuda.OutOfMemoryError:
            most = len(group) // 2
            log.info("%d fits at once do not fit into the memory of the GPU: %d are tried", len(group), most)
            continue
        except OSError:  # such as a full disk
            raise
        except Exception as error:  # such as an operation that cannot be stacked
            log.info("%d fits go on one by one: %s", len(group), error)
            answers = None
        for i in group:
            del waiting[i]
        if answers is None:
            left |= {i: missing[i] for i in group}
            continue
        for i, answer in zip(group, answers, strict=True):
            if answer is None:
                waiting[i] = _kind(store, missing[i])
            else:
                yield i, answer
    gpu.release()
    return left


def _kind(store: FitStore, wanted: Wanted) -> tuple[object, ...]:
    """Return what the fits of a stack have in common: network, size, seed, operator, and first and last epoch."""
    p, fit = wanted.problem, None
    with suppress(Damaged):  # a damaged fit is made again from its first epoch
        fit = store.find(fit_key(wanted.request))
    begun = fit.epochs if fit else 0
    return wanted.settings, p.noisy.shape, wanted.seed, p.operator.alike, p.clean is None, begun, wanted.ends_at


def stack(
    store: FitStore, wanted: Sequence[Wanted], run: RunSettings, used: Callable[[str], None] = lambda key: None
) -> list[Answer | None]:
    """Make or extend fits of one kind at once, until half of them have stopped.

    Returns:
        The fits that are long enough, and the exceptions of those that failed; None for those that must go on.
    """
    keys = [fit_key(one.request) for one in wanted]
    found: dict[str, Answer | None] = {}
    work: dict[str, tuple[Wanted, Fit | None]] = {}
    with ExitStack() as held:
        for key, one in sorted(dict(zip(keys, wanted, strict=True)).items()):  # two processes lock in one order
            held.enter_context(store.lock(key))
            fit, choice = store.prepare(one.request, one.choose)
            if fit and choice:
                found[key] = Obtained(fit, choice, made=False)
            else:
                work[key] = one, fit
        if len({fit.epochs if fit else 0 for _, fit in work.values()}) > 1:
            return [found.get(key) for key in keys]  # another process went on with some of them
        for key in work:
            used(key)
        errors = _fit_stack(store, work, run) if work else {}
        for key, (one, _) in work.items():
            fit = store.find(key)
            choice = one.choose(fit) if fit else None
            found[key] = Obtained(fit, choice, made=True) if fit and choice else errors.get(key)
    return [found[key] for key in keys]


def _fit_stack(
    store: FitStore, work: Mapping[str, tuple[Wanted, Fit | None]], run: RunSettings
) -> dict[str, FitFailed]:
    """Run fits at once, until half of them have stopped. Return the errors of those that failed, by key."""
    members = [one for one, _ in work.values()]
    first = members[0]
    module = replace(first, problem=joined([one.problem for one in members])).module()
    keepers = [FolderKeeper(store.folder(key), key, one.problem.content, fit) for key, (one, fit) in work.items()]
    fitting.run(module, keepers, [one.ends_by for one in members], first.ends_at, run)
    return {key: module.errors[i] for i, key in enumerate(work) if i in module.errors}


def room_for(wanted: Wanted, device: str) -> int:
    """Return how many fits of the kind of ``wanted`` the free memory of a GPU is estimated to hold."""
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, int(OF_MEMORY * free / bytes_of(wanted)))


def bytes_of(wanted: Wanted) -> int:
    """Estimate the bytes of one fit.

    Counted are the weights, their gradients and Adam's two averages; the outputs of the layers three times (output,
    gradient, and a copy in another precision or order); and 250 pictures: the ring buffer, its copy before a block that
    is begun ahead, and the outputs of a block.
    """
    network = networks.build(wanted.settings, torch.Generator()).to("meta")
    outputs = 0

    def count(module: torch.nn.Module, given: object, output: torch.Tensor) -> None:
        nonlocal outputs
        outputs += output.numel() if not list(module.children()) else 0

    for module in network.modules():
        module.register_forward_hook(count)
    shape = wanted.problem.noisy.shape
    network(torch.zeros(shape, device="meta"))
    weights = sum(p.numel() for p in network.parameters())
    return 4 * (4 * weights + 3 * outputs + 250 * shape[1:].numel())
