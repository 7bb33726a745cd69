"""The rows about fits: an epoch, many pictures, and the time until the output is good."""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import dipddpm as dd
from bench import bare
from bench.jobs import obtained
from bench.machine import matrix_rate
from bench.pairs import CannotMeasure, Floor, Limit, Pair, Quality, Row, Sample, Side, close
from bench.setting import Setting
from dipddpm.dip.curves import Curves
from dipddpm.dip.fitting import RunSettings
from dipddpm.dip.flops import epoch_gflop
from dipddpm.dip.settings import DipSettings
from dipddpm.dip.stopping import Stop, Stopping
from dipddpm.environment import choose_precision
from dipddpm.fits.store import FitStore
from dipddpm.fits.wanted import Wanted

PLAIN_LOOP = "the original's loop, fp32"
NEVER = Stopping("loss_floor", threshold=1e-12)  # is applied, and never fires


def epoch_pair(setting: Setting, settings: DipSettings, size: int, device: str, stopping: Stopping = NEVER) -> Pair:
    """Return a fit with all on against the bare loop, by the milliseconds of an epoch.

    All on is: a store, TensorBoard with its pictures, a progress bar, a known clean picture and a stopping rule. The
    bare loop has the precision, the threads and the number of epochs of the fit's first run. On a GPU a third program
    is the bare loop whose convolutions add up in a fixed order, as those of a fit do.
    """
    problem = setting.face(size)
    first: dict[str, Any] = {}
    walls: list[float] = []
    notes: list[str] = []

    def fit(progress: bool) -> Sample:
        with tempfile.TemporaryDirectory() as store:
            began = time.perf_counter()
            fitted = dd.fit_dip(
                problem, settings=settings, stopping=stopping, device=device, store=store, progress=progress
            ).pictures[0]
            wall = time.perf_counter() - began
            assert fitted.folder is not None
            manifest = json.loads((fitted.folder / "manifest.json").read_text())
        epochs = manifest["epochs"]
        if not first:
            first.update(epochs=epochs, precision=manifest["environments"][-1]["precision"])
        walls.append(wall)
        return Sample(1000 * manifest["seconds"] / epochs, float(fitted.curves.column("psnr")[-bare.LAST :].max()))

    def loop(deterministic: bool = False) -> Sample:
        seconds, best = bare.seconds_a_step(
            settings, problem, first["epochs"], device=device, precision=first["precision"],
            deterministic=deterministic,
        )  # fmt: skip
        return Sample(1000 * seconds, best)

    def floor() -> Floor:
        notes.append(
            f"{first['precision']}; a whole call of fit_dip takes {statistics.median(walls):.3g} s for "
            f"{first['epochs']} epochs, its imports left out"
        )
        return Floor(epoch_gflop(asdict(settings), (size, size)), matrix_rate(device, first["precision"]), 1000)

    without_a_bar, in_order = Side("without a bar", lambda: fit(False)), Side("in a fixed order", lambda: loop(True))
    return Pair(
        Side("all on", lambda: fit(True)),
        Side("bare loop" if device == "cpu" else "bare CUDA graph", loop),
        close(f"PSNR in dB, best of the last {bare.LAST} epochs", 0.5),  # sums have another order, and the loss jumps
        unit="ms",
        floor=floor,
        others=(without_a_bar if device == "cpu" else in_order,),
        notes=notes,
    )


def plain_epoch(setting: Setting) -> Pair:
    return epoch_pair(setting, DipSettings(max_epochs=setting.epochs), setting.size, "cpu")


def skip_epoch(setting: Setting) -> Pair:
    return epoch_pair(setting, DipSettings.of("skip", max_epochs=2 * setting.epochs), setting.size, "cpu")


def gpu_plain(setting: Setting) -> Pair:
    return epoch_pair(setting, DipSettings(max_epochs=setting.long_epochs, precision="bf16"), setting.large, "cuda")


def gpu_skip(setting: Setting) -> Pair:
    settings = DipSettings.of("skip", channels=32, max_epochs=setting.long_epochs)
    return epoch_pair(setting, settings, setting.large, "cuda", Stopping("loss_floor"))


def many(setting: Setting, wanted: list[Wanted], device: str, singles: int) -> Pair:
    """Return fits at once against fits one after the other, by the seconds of all.

    Where ``singles`` is less than the number of fits, that many are run in turn, and their mean time counts for all.
    """
    run = RunSettings(device)
    epochs: list[float] = []
    precision: list[str] = []

    def fits(some: list[Wanted], each: bool) -> Sample:
        with tempfile.TemporaryDirectory() as folder:
            store = FitStore(Path(folder))
            began = time.perf_counter()
            if each:
                found = [obtained(store, [one], run, batch=1)[0] for one in some]
            else:
                found = obtained(store, some, run)
            taken = time.perf_counter() - began
            epochs[:] = [one.fit.epochs for one in found]
            precision[:] = [one.fit.environments[-1]["precision"] for one in found]
            quality = [one.fit.kept[one.choice.epoch] or 0.0 for one in found]
        return Sample(taken * len(wanted) / len(some), statistics.mean(quality[:singles]))

    def floor() -> Floor:
        a, size = wanted[0], wanted[0].problem.noisy.shape[-1]
        one = epoch_gflop(asdict(a.settings), (size, size))
        return Floor(one * statistics.mean(epochs) * len(wanted), matrix_rate(device, precision[0]))

    counted = [] if singles == len(wanted) else [f"in turn: {singles} fits, their time counted for {len(wanted)}"]
    return Pair(
        Side(f"{len(wanted)} at once", lambda: fits(wanted, False)),
        Side("in turn", lambda: fits(wanted[:singles], True)),
        close(f"mean PSNR in dB of {singles} kept pictures", 0.3),
        floor=floor,
        warm_up=False,
        notes=[f"torch uses {torch.get_num_threads()} threads for a fit in turn", *counted],
    )


def skip_fits(setting: Setting, count: int, device: str) -> list[Wanted]:
    """Return fits of the skip network to the face, each with its own noise and seed."""
    settings = DipSettings.of("skip", precision=choose_precision("auto", device))
    return [Wanted(setting.face(setting.size, i), settings, Stopping("loss_floor"), seed=i) for i in range(count)]


def cpu_pictures(setting: Setting) -> Pair:
    if (cores := len(os.sched_getaffinity(0))) < 2:
        raise CannotMeasure(f"this process may use {cores} core, and fits at once need two")
    return many(setting, skip_fits(setting, setting.pictures, "cpu"), "cpu", setting.pictures)


def gpu_pictures(setting: Setting) -> Pair:
    return many(setting, skip_fits(setting, setting.many, "cuda"), "cuda", min(setting.singles, setting.many))


def time_to_quality(setting: Setting, device: str) -> Pair:
    """Return the time until the output of a fit has ``setting.target`` dB: ``dip=skip`` against the plain loop."""
    problem, target = setting.face(setting.large), setting.target

    def reached(curves: Curves) -> Stop | None:
        good = curves.column("psnr") >= target
        return Stop(max(1, int(good.argmax())), int(good.argmax()) + 1) if good.any() else None

    def ours() -> Sample:
        settings = DipSettings.of("skip", max_epochs=setting.patience)
        began = time.perf_counter()
        fitted = dd.fit_dip(problem, settings=settings, stopping=reached, device=device).pictures[0]
        return Sample(time.perf_counter() - began, float(fitted.curves.column("psnr").max()))

    theirs = Side(PLAIN_LOOP, lambda: _plain_loop(problem, target, setting.patience, device))
    notes: list[str] = []
    others: tuple[Side, ...] = ()
    if importlib.util.find_spec("deepinv"):
        others = (Side("deepinv", lambda: _deepinv(problem, setting, device, notes)),)
    else:
        notes.append("deepinv is not installed, so its DeepImagePrior was not measured: type pip install deepinv")
    return Pair(
        Side("dip=skip", ours), theirs, lambda a, b: _at_least(target, a, b), others=others, warm_up=False, rounds=1,
        notes=notes,
    )  # fmt: skip


def _at_least(target: float, a: float, b: float) -> Quality:
    return Quality(f"best PSNR in dB ({target:g} or more)", a, b, min(a, b) >= target)


def _plain_loop(problem: dd.Problem, target: float, patience: int, device: str) -> Sample:
    """Run the loop of the original: the plain network in fp32, and the PSNR of every tenth epoch's output."""
    assert problem.clean is not None
    clean = problem.clean.to(device)
    with bare.arithmetic("fp32"):
        began = time.perf_counter()
        step = bare.bare_step(DipSettings(), problem, device=device, precision="fp32", graph=False)
        for epoch in range(patience):
            step.run()
            if epoch % 10 == 9 and (now := dd.psnr(step.output, clean).item()) >= target:
                return Sample(time.perf_counter() - began, now)
    raise CannotMeasure(f"the plain loop did not reach {target:g} dB in {patience} epochs")


def _deepinv(problem: dd.Problem, setting: Setting, device: str, notes: list[str]) -> Sample:
    """Run deepinv's DeepImagePrior, with its own defaults, for 100, 200, 400, ... iterations until the picture is good.

    Its loop shows no picture before its end. The seconds are those of the last run. A run that takes longer than
    ``setting.seconds`` is the last one, good or not.
    """
    import deepinv  # pyright: ignore[reportMissingImports]

    assert problem.clean is not None
    side, iterations, channels = problem.noisy.shape[-1], 100, 256
    physics = deepinv.physics.Denoising(deepinv.physics.GaussianNoise(problem.sigma / 255))
    while True:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            decoder = deepinv.models.ConvDecoder(img_size=(3, side, side), channels=channels).to(device)
            prior = deepinv.models.DeepImagePrior(decoder, img_size=(channels, 4, 4), iterations=iterations)
            began = time.perf_counter()
            picture = prior(problem.noisy.to(device), physics).detach().cpu()
            taken = time.perf_counter() - began
        now = dd.psnr(picture, problem.clean).item()
        if now >= setting.target or 2 * iterations > setting.patience or taken > setting.seconds:
            notes.append(f"deepinv {deepinv.__version__}: {now:.1f} dB after {iterations} iterations")
            return Sample(taken, now)
        iterations *= 2


def _row(
    name: str, words: tuple[str, str], limit: Limit, prepare: Callable[[Setting], Pair], quick: bool = True
) -> Row:
    return Row(name, *words, limit, "cuda" if name.startswith("gpu") else "cpu", prepare, quick)


ROWS = (
    _row("plain", ("an epoch of the default fit at 64x64, all on", "the bare loop"), Limit("at most", 1.05),
         plain_epoch),
    _row("skip", ("an epoch of dip=skip at 64x64, all on", "the bare loop"), Limit("at most", 1.10), skip_epoch),
    _row("pictures", ("16 fits of dip=skip at 64x64", "one after the other"), Limit("at least", 1.7), cpu_pictures),
    _row("quality", ("dip=skip at 256x256 until the output has 26 dB", "the original's plain loop in fp32"),
         Limit("at least", 30), lambda s: time_to_quality(s, "cpu"), quick=False),
    _row("gpu-plain", ("2000 epochs of 4x64 at 256x256, bf16", "the bare loop as a CUDA graph"),
         Limit("at most", 1.25), gpu_plain),
    _row("gpu-skip", ("dip=skip dip.channels=32 at 256x256 to its stop", "the bare loop as a CUDA graph"),
         Limit("at most", 1.25), gpu_skip),
    _row("gpu-pictures", ("256 fits of dip=skip at 64x64", "256 in turn"), Limit("at least", 100), gpu_pictures),
    _row("gpu-quality", ("dip=skip at 256x256 until the output has 26 dB", "the original's plain loop in fp32"),
         Limit("at least", 30), lambda s: time_to_quality(s, "cuda")),
)  # fmt: skip
