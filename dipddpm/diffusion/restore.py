"""Restore a picture: run a window of a prior from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch

from dipddpm import seeds
from dipddpm.degradation.problem import Problem, content_hashes
from dipddpm.diffusion.agreement import agreement, is_wanted
from dipddpm.diffusion.denoiser import Output
from dipddpm.diffusion.inits import initial_state
from dipddpm.diffusion.prior import Prior
from dipddpm.diffusion.sampler import Consistency, Snapshot, sample_window, shown
from dipddpm.diffusion.schedule import to_picture, to_state
from dipddpm.diffusion.warm import Fitted
from dipddpm.diffusion.window import Window
from dipddpm.environment import outside_inference_mode
from dipddpm.metrics.quality import psnr
from dipddpm.pictures.check import check_kind, check_picture

Watch = Callable[[float], None]


@dataclass(frozen=True)
class Restoration:
    """The result of a window.

    Attributes:
        picture: Shape (N, 3, H, W), clipped to [0, 1]; still noisy where the window ends above noise level 0.
        estimate: The last clean estimate, same shape, clipped to [0, 1].
        levels: The noise levels of the window, falling, both ends included.
        nfe: Network evaluations per picture.
        seconds: Wall-clock seconds of the window, for all N.
        snapshots: (level, state of the first sample) from the first level on; states of shape (1, 3, H, W), clipped to
            [0, 1].
        psnrs: (level, PSNR in dB of the clean estimate at it, mean over the N) of each evaluation; empty without a
            clean picture.
    """

    picture: torch.Tensor
    estimate: torch.Tensor
    levels: list[int]
    nfe: int
    seconds: float
    snapshots: list[tuple[int, torch.Tensor]] = field(default_factory=list)
    psnrs: list[tuple[int, float]] = field(default_factory=list)

    def split(self) -> list[Restoration]:
        """Return the restoration of each picture, with its share of the seconds, without snapshots and psnrs."""
        rows = zip(self.picture.split(1), self.estimate.split(1), strict=True)
        n = len(self.picture)
        return [Restoration(p, estimate, self.levels, self.nfe, self.seconds / n) for p, estimate in rows]


@outside_inference_mode
def iterate(
    prior: Prior,
    picture: torch.Tensor,
    window: Window,
    problem: Problem | None = None,
    *,
    consistent: bool | None = None,
    error_sigma: float | Sequence[float] | None = None,
    watch: Watch | None = None,
    dips: Sequence[Fitted] | None = None,
) -> Iterator[Snapshot]:
    """Start ``prior`` from a picture, and yield snapshots while the window runs.

    Args:
        prior: The prior.
        picture: The start, shape (N, 3, H, W), about [0, 1]: a DIP output, or y, which is not clipped.
        window: The window.
        problem: The problem that ``picture`` belongs to. Its contents enter the seeds; None: those of ``picture``.
        consistent: Whether the window is made to agree with y, by ``window.consistency``. None: where the operator is
            partial, or ``window.consistency`` is not ``auto``.
        error_sigma: The rms error of ``picture`` on the 0-255 scale, for ``start_t=auto`` and ``init=matched``: one
            number, or one for each picture. None: the noise of y, where ``picture`` is y and y lacks nothing.
        watch: Called after every evaluation with the evaluations done since its last call, per picture.
        dips: With ``consistency="dip"`` the DIP of each picture: ``dd.fit_dip(problem).pictures``, or fits that
            ``dd.load_fit`` loaded. Copies of these DIPs learn in the window.

    Yields:
        A snapshot every ``window.snapshot_every`` levels, and one at the end: ``snapshot.picture``, ``.estimate``,
        ``.level``, ``.nfe``. The ``window.samples`` results of one picture are neighbours in the batch.

    Raises:
        ValueError: For a window outside the schedule, sides that the network cannot halve, a form of data consistency
            without a problem, a setting that needs an unknown error, or ``start_t=auto`` where the errors of the
            pictures have different noise levels.
        TypeError: For an argument of another type, such as the name of a prior.
    """
    _check(prior, window, problem, consistent)
    agree = _consistency(prior, problem, window, consistent, dips)
    return _begin(prior, picture, window, problem, agree, error_sigma, watch)[2]


@outside_inference_mode
def restore(
    prior: Prior,
    picture: torch.Tensor,
    window: Window,
    problem: Problem | None = None,
    *,
    consistent: bool | None = None,
    error_sigma: float | Sequence[float] | None = None,
    watch: Watch | None = None,
    dips: Sequence[Fitted] | None = None,
) -> Restoration:
    """Start ``prior`` from a picture, and run the window to its end. Arguments and errors are those of `iterate`."""
    _check(prior, window, problem, consistent)
    agree = _consistency(prior, problem, window, consistent, dips)
    began, measured = time.perf_counter(), []
    if problem is not None and problem.clean is not None:
        agree = _measuring(agree, problem.clean.to(prior.unet.device).repeat_interleave(window.samples, 0), measured)
    window, x, snapshots = _begin(prior, picture, window, problem, agree, error_sigma, watch)
    passed = [(window.first, shown(x[:1]))]
    snapshot = None
    for snapshot in snapshots:
        passed.append((snapshot.level, shown(snapshot.x_t[:1])))
    assert snapshot is not None  # a window has at least one evaluation
    psnrs = [(level, value.item()) for level, value in measured]
    seconds = time.perf_counter() - began
    return Restoration(snapshot.picture, snapshot.estimate, window.levels, snapshot.nfe, seconds, passed, psnrs)


def _measuring(agree: Consistency | None, clean: torch.Tensor, into: list[tuple[int, torch.Tensor]]) -> Consistency:
    """Return the consistency, which also adds the level and the PSNR of each clean estimate to a list.

    The PSNR stays on its device: reading it would wait for the step.
    """

    agree = agree or Consistency()

    def measured(x0: torch.Tensor, level: int) -> torch.Tensor:
        x0 = x0 if agree.correct is None else agree.correct(x0, level)
        into.append((level, psnr(to_picture(x0), clean).mean()))
        return x0

    return replace(agree, correct=measured)


@outside_inference_mode
def posterior_mean(
    prior: Prior, noisy: torch.Tensor, level: int, problem: Problem | None = None, *, consistent: bool | None = None
) -> Restoration:
    """Restore a noisy picture by one evaluation, without a DIP. The result estimates the posterior mean.

    Args:
        prior: The prior.
        noisy: Shape (N, 3, H, W), in [0, 1] units.
        level: The noise level of the picture's noise, 1..T.
        problem: As for `iterate`.
        consistent: As for `iterate`.
    """
    return restore(prior, noisy, Window(level, steps=1, scheduler="ddim"), problem, consistent=consistent)


def _begin(
    prior: Prior,
    picture: torch.Tensor,
    window: Window,
    problem: Problem | None,
    agree: Consistency | None,
    error_sigma: float | Sequence[float] | None,
    watch: Watch | None,
) -> tuple[Window, torch.Tensor, Iterator[Snapshot]]:
    """Return the window with its first level resolved, the first states, and the lazy snapshots."""
    contents = _contents(picture, problem)
    if error_sigma is None and window.takes_error and problem is not None and _is_y(picture, problem):
        error_sigma = problem.sigmas
    errors = _each(error_sigma, len(contents))
    if len(errors) != len(contents):
        raise ValueError(f"error_sigma: {len(errors)} numbers for {len(contents)} pictures; must be one for each")
    if window.start_t == "auto":
        window = _at_errors(window, errors, prior)
    if window.first > prior.schedule.T:
        raise ValueError(f"start_t={window.first}: must be at most {prior.schedule.T}")
    height, width = picture.shape[-2:]
    if height % prior.unit or width % prior.unit:
        raise ValueError(f"picture has {width}x{height} pixels: the prior takes multiples of {prior.unit} a side")
    of_each = [[seeds.generator(window.seed, "window", c, i) for i in range(window.samples)] for c in contents]
    generators = [generator for of_one in of_each for generator in of_one]
    p = to_state(picture).to(prior.unet.device, torch.float32)
    ab = prior.schedule.alpha_bar(window.first)
    x = torch.cat(
        [
            initial_state(window.init, one, ab, of_one, None if error is None else error / 127.5)
            for one, of_one, error in zip(p.split(1), of_each, errors, strict=True)
        ]
    )
    snapshots = sample_window(
        _watched(prior, watch, 1 / len(x) if window.exact else 1.0),  # exact evaluates the pictures in turn
        x,
        window.levels,
        generators,
        scheduler=window.scheduler,
        snapshot_every=window.snapshot_every,
        exact=window.exact,
        consistency=agree,
    )
    return window, x, snapshots


def _is_y(picture: torch.Tensor, problem: Problem) -> bool:
    """Return whether a start is y itself, and y lacks nothing: the error of such a start is its noise."""
    return not problem.operator.partial and torch.equal(picture.to(problem.noisy), problem.noisy)


def _each(error_sigma: float | Sequence[float] | None, pictures: int) -> list[float] | list[None]:
    """Return the error of each picture from one number, or from a list, array or tensor."""
    if error_sigma is None:
        return [None] * pictures
    errors = torch.as_tensor(error_sigma, dtype=torch.float64)
    return errors.expand(pictures).tolist() if errors.ndim == 0 else errors.flatten().tolist()


def _check(prior: Prior, window: Window, problem: Problem | None, consistent: bool | None) -> None:
    """Refuse arguments of another type, and data consistency without a problem."""
    check_kind("prior", prior, Prior, 'dd.load_prior("faces64")')
    check_kind("window", window, Window, "dd.Window(50)")
    if problem is not None:
        check_kind("problem", problem, Problem, "dd.Problem(y, sigma=<0-255 scale>)")
    elif consistent or (consistent is None and window.consistency != "auto"):
        raise ValueError(f"consistency={window.consistency!r}: a window agrees with the y of a problem; give problem")


def _at_errors(window: Window, errors: Sequence[float | None], prior: Prior) -> Window:
    """Return the window with ``start_t=auto`` resolved."""
    known = [error for error in errors if error is not None]
    if not known:
        raise ValueError("start_t='auto' needs error_sigma, the rms error of the picture on the 0-255 scale")
    found = {window.at_error(error, prior.schedule) for error in known}
    if len(found) > 1:
        levels = sorted(one.first for one in found)
        raise ValueError(
            f"start_t='auto' has the noise levels {levels[0]} to {levels[-1]} for these pictures: restore them one by "
            "one, or give a noise level"
        )
    return found.pop()


def _contents(picture: torch.Tensor, problem: Problem | None) -> Sequence[str]:
    """Return the content hash of each picture, for the seeds; refuse pictures that do not fit the problem."""
    check_picture("picture", picture)
    if problem is not None and picture.shape != problem.noisy.shape:
        raise ValueError(
            f"picture has the shape {tuple(picture.shape)}, and the problem's pictures {tuple(problem.noisy.shape)}"
        )
    return content_hashes(picture) if problem is None else problem.contents


def _consistency(
    prior: Prior, problem: Problem | None, window: Window, consistent: bool | None, dips: Sequence[Fitted] | None
) -> Consistency | None:
    if problem is None:
        return None
    if not is_wanted(consistent, window.consistency, problem.operator):
        return None
    n = len(problem)
    if n > 1 and window.samples > 1:
        raise ValueError(f"samples={window.samples} of {n} pictures cannot agree with y: restore them one by one")
    return agreement(window.consistency, window.prior_weight, problem, prior, dips)


def _watched(prior: Prior, watch: Watch | None, share: float) -> Prior:
    """Return a copy of the prior that calls ``watch`` after every evaluation."""
    if watch is None:
        return prior

    def evaluate(x: torch.Tensor, t: torch.Tensor) -> Output:
        output = prior.evaluate(x, t)
        watch(share)
        return output

    return replace(prior, evaluate=evaluate)
