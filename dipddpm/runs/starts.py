"""The three kinds of start (the picture that a window starts from): that of a stored fit, that of a file, y itself."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from dipddpm import progress
from dipddpm.config.checkpoint import parse
from dipddpm.config.compose import plain
from dipddpm.config.schema import Config
from dipddpm.config.start_error import is_estimated
from dipddpm.degradation.problem import Problem
from dipddpm.dip.fitting import RunSettings
from dipddpm.dip.flops import epoch_gflop
from dipddpm.dip.settings import DipSettings
from dipddpm.dip.stopping import Stopping, summarise
from dipddpm.environment import choose_device, choose_precision
from dipddpm.errors import FitFailed, UserError, typed_as
from dipddpm.files import expanded, link, printable, read_json
from dipddpm.fits import Fit, FitStore
from dipddpm.fits.choice import Choice
from dipddpm.fits.load import LoadedFit, load_fit
from dipddpm.fits.manifest import read_picture
from dipddpm.fits.many import obtain_all
from dipddpm.fits.store import fit_key
from dipddpm.fits.wanted import Obtained, Wanted
from dipddpm.runs.folder import is_many
from dipddpm.runs.inspect import check_kept_file
from dipddpm.runs.job import Job

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FittedStart:
    """The picture of a kept epoch of a stored fit.

    Attributes:
        picture: Shape (1, 3, H, W), clipped to [0, 1].
        fit: The stored fit.
        choice: The epoch of the fit that was chosen.
        made: Whether this run made or extended the fit.
        error_sigma: rms error of the picture on the 0-255 scale, by a second fit (`dipddpm.fits.second`), or None.
        second: The second fit.
    """

    picture: torch.Tensor
    fit: Fit
    choice: Choice
    made: bool
    error_sigma: float | None = None
    second: Obtained | None = None
    kind: ClassVar[str] = "dip"

    @property
    def label(self) -> str:
        """The name of the start in tables, such as ``epoch 250 (loss_floor)``."""
        return f"epoch {self.choice.epoch} ({self.choice.why})"

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of the fit up to the epoch at which the choice was known, and of a second fit.

        Of a fit's seconds the share that the steps of these epochs took is counted.
        """
        return seconds_of(self.fit, self.choice.needed) + (
            seconds_of(self.second.fit, self.choice.epoch) if self.second else 0.0
        )

    @property
    def gflop(self) -> float:
        """10^9 floating-point operations of the fit up to the epoch of the choice, and of a second fit."""
        height, width = self.picture.shape[-2:]
        epochs = self.choice.needed + (self.choice.epoch if self.second else 0)
        return epochs * epoch_gflop(self.fit.request["dip"], (height, width))

    @property
    def request(self) -> dict[str, Any]:
        """The values that determine the fit."""
        return self.fit.request

    def load(self) -> LoadedFit:
        """Load the network of the chosen epoch."""
        return load_fit(self.fit.folder, self.choice.epoch)


def seconds_of(fit: Fit, epochs: int) -> float:
    steps = fit.curves.column("seconds")
    return fit.seconds * float(steps[:epochs].sum() / steps.sum())


@dataclass(frozen=True)
class FileStart:
    """A DIP output from the file of a kept epoch. The cost of its fit is unknown.

    Attributes:
        picture: Shape (1, 3, H, W), clipped to [0, 1].
        label: The path of the file.
        file: The file of the kept epoch.
    """

    picture: torch.Tensor
    label: str
    file: Path
    kind: ClassVar[str] = "file"
    seconds: ClassVar[float] = 0.0
    gflop: ClassVar[None] = None

    @property
    def request(self) -> dict[str, Any]:
        """The values that determine the stored fit of the file. `runs.inspect` refuses a file without a stored fit."""
        return read_json(self.file.resolve().parents[1] / "fit.json")

    def load(self) -> LoadedFit:
        """Load the network of the epoch from the stored fit.

        Raises:
            UserError: When another file of the fit is damaged.
        """
        try:
            return load_fit(self.file)
        except ValueError as error:
            raise UserError(f"checkpoint={self.label} cannot be used: {error}; type checkpoint=stop") from error


@dataclass(frozen=True)
class DirectStart:
    """y itself: no DIP.

    Attributes:
        picture: Shape (1, 3, H, W), not clipped.
        label: The name of y in tables, such as ``noisy picture``.
    """

    picture: torch.Tensor
    label: str
    kind: ClassVar[str] = "none"
    seconds: ClassVar[float] = 0.0
    gflop: ClassVar[float] = 0.0


Start = FittedStart | FileStart | DirectStart


def start_of(c: Config, problem: Problem, job: Job, *, window: bool = True) -> Start:
    """Return the start that ``checkpoint`` names; find, make or extend its fit where it needs one.

    ``window`` says whether a window follows, which may need the error of the start.

    Raises:
        UserError: When there is no such start: a damaged file, another size, or ``fit=never`` without a stored fit.
    """
    asked = parse(c.checkpoint)
    if asked.file is not None:
        return _from_file(asked.file, problem, c.image.path, job)
    (start,) = starts_of(c, [problem], job, window=window)
    if isinstance(start, FitFailed):
        raise start
    if isinstance(start, FittedStart):
        log.info("%s fit %s: %s", "made" if start.made else "found", start.fit.key, start.label)
    return start


def starts_of(c: Config, problems: Sequence[Problem], job: Job, *, window: bool = True) -> list[Start | FitFailed]:
    """Return the start of each problem, or why its fit failed, in order. ``checkpoint`` is no file.

    ``window`` is that of `start_of`.

    Raises:
        UserError: As for `start_of`.
        OSError: When a fit cannot be written, as on a full disk.
        RuntimeError: When a process that makes fits was killed.
    """
    if parse(c.checkpoint).kind == "none":
        return [DirectStart(problem.noisy, problem.words) for problem in problems]
    wanted = [wanted_fit(c, problem) for problem in problems]
    estimated = window and is_estimated(c)
    script = "sample.py" if estimated else "train_dip.py"  # the script that makes all fits which the run wants
    starts: list[Start | FitFailed] = []
    for one, answer in zip(wanted, _obtained(c, wanted, job, script), strict=True):
        if isinstance(answer, FitFailed):
            starts.append(answer)
        elif isinstance(answer, Exception):
            raise answer
        else:
            picture = one.finished(answer.fit.picture(answer.choice.epoch))
            starts.append(FittedStart(picture, answer.fit, answer.choice, answer.made))
    _warn_of_no_stop(c, [s for s in starts if isinstance(s, FittedStart)], wanted[0].rule.threshold)
    return _with_errors(c, wanted, starts, job, script) if estimated else starts


def _with_errors(
    c: Config, wanted: Sequence[Wanted], starts: Sequence[Start | FitFailed], job: Job, script: str
) -> list[Start | FitFailed]:
    """Return the starts with their errors, which second fits estimate."""
    fitted = {i: start for i, start in enumerate(starts) if isinstance(start, FittedStart)}
    log.info("a second fit, of a noisier y, estimates the error of the DIP output")
    seconds = [wanted[i].second(start.choice.epoch) for i, start in fitted.items()]
    answers: list[Start | FitFailed] = list(starts)
    for (i, start), one, answer in zip(fitted.items(), seconds, _obtained(c, seconds, job, script), strict=True):
        if isinstance(answer, FitFailed):
            answers[i] = answer
        elif isinstance(answer, Exception):
            raise answer
        else:
            second = one.finished(answer.fit.picture(answer.choice.epoch))
            answers[i] = replace(start, error_sigma=wanted[i].error_sigma(start.picture, second), second=answer)
    return answers


def wanted_fit(c: Config, problem: Problem) -> Wanted:
    """Return the fit that a run wants, and its choice of an epoch."""
    s = c.stopping
    stopping = Stopping(s.rule.name, s.threshold, s.patience)
    return Wanted(problem, settings_of(c), stopping, c.seed, c.checkpoint)


def settings_of(c: Config) -> DipSettings:
    """Return the settings of network and optimiser, with the share of held-out values and the precision known."""
    values = {name: value for name, value in plain(c.dip).items() if name != "batch"}
    values["precision"] = choose_precision(c.dip.precision.name, choose_device(c.device), "dip.precision")
    return DipSettings(**values).for_rule(c.stopping.rule.name)


def _obtained(c: Config, wanted: Sequence[Wanted], job: Job, script: str) -> list[Obtained | Exception]:
    """Find, make or extend the fits. Pictures with the same content share one.

    ``script`` is the command that makes missing fits, for the refusal of fit=never.
    """
    store = FitStore(expanded(c.store))
    distinct = {fit_key(one.request): one for one in wanted}
    if c.fit.name == "never":
        overrides = shlex.join(o for o in job.overrides if not o.startswith("fit="))
        command = f"{typed_as(script)} {overrides}".rstrip()
        found = [Obtained(*store.stored(one.request, one.choose, command), made=False) for one in distinct.values()]
        answers: dict[str, Obtained | Exception] = dict(zip(distinct, found, strict=True))
    else:
        device = choose_device(c.device)
        many = len(distinct) > 1
        run = RunSettings(device, panel_every=c.panel_every, progress=not many)
        with progress.bar("fits", threaded=False) if many else nullcontext() as shown:
            task = shown.add_task("fitting", total=len(distinct), note="") if shown else None

            def ended(_: int) -> None:
                if shown and task is not None:
                    shown.advance(task)
                    shown.refresh()

            made = obtain_all(
                store, list(distinct.values()), run, batch=c.dip.batch, ended=ended,
                used=lambda key: store.record_use(key, job.folder),  # before the work, for gc after a kill
            )  # fmt: skip
        answers = dict(zip(distinct, made, strict=True))
    for answer in answers.values():
        if isinstance(answer, Obtained):
            if not answer.made:
                store.record_use(answer.fit.key, job.folder)
            if job.sweep:
                _link(job.folder, answer.fit)
    return [answers[fit_key(one.request)] for one in wanted]


def _link(job: Path, fit: Fit) -> None:
    """Link a fit into the folder of its sweep, once for all jobs: TensorBoard shows the fit once, too."""
    shown, before = job.parent / "fits" / fit.key, job / "fit"
    if before.is_symlink() and before.resolve() == fit.folder.resolve():  # by versions that linked it in each job
        before.unlink()
    if shown.resolve() != fit.folder.resolve() and (shown.is_symlink() or not shown.exists()):
        with suppress(FileExistsError):  # by a job beside this one
            link(shown, fit.folder)


def _warn_of_no_stop(c: Config, starts: Sequence[FittedStart], threshold: float | None) -> None:
    """Warn where the stopping rule did not fire."""
    rule, epochs = c.stopping.rule.name, [s.choice.epoch for s in starts if s.choice.why == "max_epochs"]
    if not epochs or rule == "never":
        return
    if rule == "loss_floor" and not threshold:
        log.info("stopping=loss_floor cannot fire without noise: the start is epoch %d (dip.max_epochs)", epochs[0])
        return
    of_all = f" for {len(epochs)} of {len(starts)} pictures" if is_many(c) else ""
    log.warning(
        "stopping=%s did not fire in %d epochs%s, so the start is epoch %d, which may be too early: type "
        "dip.max_epochs=<more>", rule, c.dip.max_epochs, of_all, epochs[0]
    )  # fmt: skip


def _from_file(path: Path, problem: Problem, shown: str, job: Job) -> FileStart:
    height, width = problem.noisy.shape[-2:]
    kept = check_kept_file(path, (height, width))
    if kept.pixels not in (None, problem.content):
        log.warning("checkpoint=%s was fitted to another picture than image.path=%s", printable(path), printable(shown))
    if kept.fit is not None:  # in a store, whose gc then leaves the fit
        FitStore(kept.fit.parent).record_use(kept.fit.name, job.folder)
    return FileStart(problem.put_back(read_picture(path).clamp(0, 1)), printable(path), path)


def fit_record(start: FittedStart, threshold: float, patience: tuple[int, int], has_crossing: bool) -> dict[str, Any]:
    """Return the entry ``fit`` of metrics.json, and write the summary of the fit beside it.

    Args:
        start: The fit and the chosen epoch.
        threshold: Threshold of ``loss_floor``: mean squared error, [0, 1] units.
        patience: Patience of ``wmv`` and ``emv``, and of ``holdout``, in epochs.
        has_crossing: Whether the crossing of the two losses has a meaning (`Problem.has_crossing`).
    """
    fit, choice = start.fit, start.choice
    of_variances, of_held_out = patience
    summary = summarise(fit.curves, threshold=threshold, patience=of_variances, held_out_patience=of_held_out)
    if not has_crossing:
        summary["crossing"] = None
    FitStore(fit.folder.parent).record_summary(fit.key, summary)
    return {
        "key": fit.key, "folder": str(fit.folder), "made_by_this_run": start.made, "epochs": fit.epochs,
        "precision": fit.request["dip"]["precision"],
        "holdout": fit.request["dip"].get("holdout"), "error_sigma": start.error_sigma,
        "second_fit": start.second.fit.key if start.second else None,
        "epoch": choice.epoch, "why": choice.why, "seconds": start.seconds, "gflop": start.gflop,
        "environments": fit.environments, "rule_epoch": choice.stop.epoch if choice.stop else None,
        "revived": fit.revived, "summary": summary,
    }  # fmt: skip
