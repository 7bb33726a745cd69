"""The fits of many pictures: each like the one that is made alone, in processes and in stacks."""

import multiprocessing
import os
import signal
import time
import weakref
from dataclasses import replace

import pytest
import torch
from support.dips import clean

from dipddpm.degradation.masks import Mask
from dipddpm.degradation.noise import Gaussian
from dipddpm.degradation.problem import Problem, degrade
from dipddpm.dip.fitting import RunSettings
from dipddpm.dip.settings import DipSettings
from dipddpm.dip.stopping import Stop, Stopping
from dipddpm.errors import FitFailed
from dipddpm.fits import FitStore, stacks
from dipddpm.fits.fit import _rows
from dipddpm.fits.many import obtain_all
from dipddpm.fits.wanted import Obtained, Wanted

SMALL = DipSettings(layers=1, channels=8, lr=5e-3, max_epochs=30, final_relu=False, precision="fp32")
CPU = RunSettings()


def wanted(n, settings=SMALL, operator=None):
    """Fits of n pictures, of which no two are alike."""
    problem = degrade(clean(n, (16, 18)), Gaussian(25), operator)
    return [Wanted(row, settings, Stopping("never"), 0) for row in _rows(problem)]


def obtained(answers):
    assert all(isinstance(answer, Obtained) for answer in answers), answers
    return [answer for answer in answers if isinstance(answer, Obtained)]


@pytest.fixture
def two_threads():
    if torch.cuda.is_initialized():
        pytest.skip(
            "an earlier test of this process used the GPU: fits run in turn, because CUDA does not outlive a fork"
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def test_fits_in_processes_are_those_that_are_made_alone(tmp_path, two_threads):
    fits, used, ended = wanted(3), [], []
    store, alone = FitStore(tmp_path / "many"), FitStore(tmp_path / "alone")
    made = obtained(obtain_all(store, fits, CPU, used=used.append, ended=ended.append))
    assert [one.made for one in made] == [True] * 3 and sorted(ended) == [0, 1, 2]
    torch.set_num_threads(1)
    single = obtained(obtain_all(alone, fits, CPU, batch=1, used=used.append))
    assert sorted(used) == sorted(one.fit.key for one in single), "in processes others are told"
    for one, other in zip(made, single, strict=True):
        assert torch.equal(one.fit.picture(30), other.fit.picture(30)) and one.choice == other.choice
    again = obtained(obtain_all(store, fits, CPU, used=used.append))
    assert [one.made for one in again] == [False] * 3


def test_a_fit_that_fails_leaves_the_others(tmp_path, two_threads):
    fits = wanted(3)
    bad = fits[1].problem
    fits[1] = Wanted(Problem(bad.y, 25), SMALL, Stopping(lambda curves: 1 / 0), 0)  # pyright: ignore[reportArgumentType]
    fits[2] = Wanted(fits[2].problem, SMALL, Stopping(lambda curves: 3), 0)  # pyright: ignore[reportArgumentType]
    first, second, third = obtain_all(FitStore(tmp_path), fits, CPU)
    assert isinstance(first, Obtained)
    assert isinstance(second, ZeroDivisionError) and isinstance(third, TypeError)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_full_disk_ends_all_fits(tmp_path, two_threads, batch):
    tried = tmp_path / "tried"

    def full(key):
        with tried.open("a") as file:
            file.write(f"{key}\n")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        obtain_all(FitStore(tmp_path / "s"), wanted(8), CPU, batch=batch, used=full)
    if batch == 1:
        assert len(tried.read_text().split()) == 1


def test_a_process_that_is_killed_is_a_failure_of_its_fits_alone(tmp_path, two_threads):
    fits = wanted(2)

    def killed(key):
        os.kill(os.getpid(), signal.SIGKILL)

    answers = obtain_all(FitStore(tmp_path), fits, CPU, used=killed)
    assert ["a process that made fits was killed" in str(answer) for answer in answers] == [True, True]
    assert not any(isinstance(answer, FitFailed) for answer in answers)
    assert all(one.made for one in obtained(obtain_all(FitStore(tmp_path), fits, CPU)))


def test_an_interrupt_ends_the_processes_at_once(tmp_path, two_threads):
    slow = replace(SMALL, max_epochs=10_000)

    def interrupt(i):
        raise KeyboardInterrupt

    fits = [*wanted(1), *wanted(3, settings=slow)[1:]]
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        obtain_all(FitStore(tmp_path), fits, CPU, ended=interrupt)
    while multiprocessing.active_children() and time.monotonic() - began < 30:  # the pool's thread collects them, too
        time.sleep(0.05)
    assert not multiprocessing.active_children(), "10,000 epochs take minutes"


@pytest.mark.parametrize("operator", [None, Mask(0.2)], ids=["identity", "mask"])
def test_a_stack_stores_each_fit_as_if_it_were_alone(tmp_path, operator):
    fits = wanted(3, operator=operator)
    store, alone = FitStore(tmp_path / "many"), FitStore(tmp_path / "alone")
    together = obtained(stacks.stack(store, fits, CPU))
    single = obtained(obtain_all(alone, fits, CPU, batch=1))
    for one, other in zip(together, single, strict=True):
        assert one.fit.key == other.fit.key and list(one.fit.kept) == [10, 20, 30]
        assert torch.allclose(one.fit.picture(30), other.fit.picture(30), atol=1e-4)
        assert (one.fit.environments[0]["batch"], other.fit.environments[0].get("batch")) == (3, None)
    longer = [Wanted(one.problem, DipSettings(**{**vars(SMALL), "max_epochs": 50}), one.stopping, 0) for one in fits]
    extended = obtained([*stacks.stack(store, longer[:2], CPU), *obtain_all(store, longer[2:], CPU)])
    whole = obtained(obtain_all(alone, longer, CPU, batch=1))
    for one, other in zip(extended, whole, strict=True):
        assert one.fit.epochs == 50
        assert torch.allclose(one.fit.picture(50), other.fit.picture(50), atol=1e-3)


def test_fits_that_go_on_longer_do_so_in_a_smaller_stack(tmp_path, monkeypatch):
    fits = wanted(5)

    def after(end):
        return Stopping(lambda curves: Stop(end, end) if len(curves) >= end else None)

    ends = dict(enumerate((10, 10, 20, 30, 30)))
    fits = [Wanted(one.problem, SMALL, after(ends[i]), 0) for i, one in enumerate(fits)]
    monkeypatch.setattr(stacks, "room_for", lambda *given: 4)
    sizes, real = [], stacks._fit_stack

    def fit_stack(store, work, run):
        sizes.append(len(work))
        return real(store, work, run)

    monkeypatch.setattr(stacks, "_fit_stack", fit_stack)
    stacked = stacks.in_stacks(FitStore(tmp_path), dict(enumerate(fits)), CPU, "auto", lambda key: None)
    epochs = {i: obtained([answer])[0].fit.epochs for i, answer in stacked}
    left = ends.keys() - epochs.keys()
    assert epochs | {i: ends[i] for i in left} == ends
    assert sizes[0] == 4 and len(left) <= 2


def test_the_memory_of_a_stack_that_is_too_large_is_free_before_a_smaller_one(tmp_path, monkeypatch):
    """The traceback of its exception holds the tensors, and Lightning's Trainer and the module hold each other."""

    class Module:
        def __init__(self):
            self.trainer = self

    sizes, modules, real = [], [], stacks._fit_stack

    def fit_stack(store, work, run):
        module = Module()
        sizes.append((len(work), [there() for there in modules]))
        modules.append(weakref.ref(module))
        if len(work) > 2:
            raise torch.cuda.OutOfMemoryError
        return real(store, work, run)

    monkeypatch.setattr(stacks, "_fit_stack", fit_stack)
    stacked = stacks.in_stacks(FitStore(tmp_path), dict(enumerate(wanted(4))), CPU, 4, lambda key: None)
    assert len(obtained([answer for _, answer in stacked])) == 4
    assert sizes == [(4, []), (2, [None]), (2, [None, None])]


def test_the_memory_of_a_fit_is_estimated_from_its_layers():
    (one,) = wanted(1)
    (wide,) = wanted(1, settings=DipSettings(layers=1, channels=80, final_relu=False))
    outputs = 16 * 18 * (8 * 2 + 3)
    weights = sum(p.numel() for p in stacks.networks.build(SMALL).parameters())
    assert stacks.bytes_of(one) == 4 * (4 * weights + 3 * outputs + 250 * 3 * 16 * 18)
    assert stacks.bytes_of(wide) > 2 * stacks.bytes_of(one) - 4 * 110 * 3 * 16 * 18
