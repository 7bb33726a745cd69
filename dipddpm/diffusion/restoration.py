"""Run a window of a prior from a picture, with what there is to say of its start and its cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from dipddpm import seeds
from dipddpm.diffusion.prior import Prior
from dipddpm.diffusion.sampler import sample_window
from dipddpm.diffusion.schedule import initial_state, to_picture, to_state, window
from dipddpm.errors import error_unknown


@dataclass(frozen=True)
class Restoration:
    """What a window made of a picture.

    Attributes:
        picture: Shape (N, 3, H, W), clipped to [0, 1]; still noisy when the window ends above level 0.
        estimate: The last clean estimate, same shape.
        levels: What the window passed.
        nfe: Network evaluations per picture.
        seconds: Of the window, for all N.
        snapshots: The pictures on the way, as (level, state of the first sample), from the first level on.
    """

    picture: torch.Tensor
    estimate: torch.Tensor
    levels: list[int]
    nfe: int
    seconds: float
    snapshots: list[tuple[int, torch.Tensor]] = field(default_factory=list)


def run_window(
    prior: Prior,
    start: torch.Tensor,
    *,
    start_t: int,
    end_t: int,
    steps: int | None,
    init: str,
    scheduler: str,
    error_rms: float | None,
    seed: int,
    content: str,
    samples: int = 1,
    snapshot_every: int = 10,
    exact: bool = False,
    data_consistency: Callable[[torch.Tensor, int], torch.Tensor] | None = None,
    watch: Callable[[float], None] | None = None,
) -> Restoration:
    """Start ``prior`` from a picture at level ``start_t`` and run it down to ``end_t``.

    Args:
        prior: Network and schedule.
        start: Shape (1, 3, H, W), about [0, 1]: a DIP output, or y, which is not clipped.
        start_t: First level.
        end_t: Last level.
        steps: Evaluations, None for one a level.
        init: Rule of the first state.
        scheduler: ``ddpm`` or ``ddim``.
        error_rms: Of ``start`` in [-1, 1] units, where it is known.
        seed: Of all noise; each sample has a generator of its own.
        content: Content hash of the picture, which enters the seeds.
        samples: Results from the one start.
        snapshot_every: Levels between snapshots.
        exact: Evaluate one picture at a time.
        data_consistency: Of `dipddpm.diffusion.consistency`, where clean estimates are to agree with the noisy picture.
        watch: Called after every evaluation with the evaluations done since, per picture.

    Raises:
        UserError: For a window or an init that cannot be.
    """
    levels = window(start_t, end_t, steps, T=prior.schedule.T)
    generators = [seeds.generator(seed, "window", content, i) for i in range(samples)]
    p = to_state(start).to(prior.unet.device)
    alpha_bar = prior.schedule.alpha_bar(start_t)
    x = initial_state(init, p, alpha_bar, error_rms=error_rms, generators=generators)
    share = 1 / samples if exact else 1.0  # exact evaluates the pictures in turn

    def evaluate(x_t: torch.Tensor, t: torch.Tensor) -> Any:
        output = prior.evaluate(x_t, t)
        if watch:
            watch(share)
        return output

    began = time.perf_counter()
    snapshots = [(start_t, _shown(x[:1]))]
    snapshot = None
    for snapshot in sample_window(
        evaluate,
        prior.schedule,
        x,
        levels,
        scheduler=scheduler,
        generators=generators,
        snapshot_every=snapshot_every,
        prediction_type=prior.prediction_type,
        clip_sample=prior.clip_sample,
        exact=exact,
        data_consistency=data_consistency,
    ):
        snapshots.append((snapshot.level, _shown(snapshot.x_t[:1])))
    assert snapshot is not None  # a window has at least one evaluation
    return Restoration(
        picture=_shown(snapshot.x_t),
        estimate=_shown(snapshot.x0),
        levels=levels,
        nfe=snapshot.nfe,
        seconds=time.perf_counter() - began,
        snapshots=snapshots,
    )


def posterior_mean(
    prior: Prior,
    noisy: torch.Tensor,
    level: int,
    data_consistency: Callable[[torch.Tensor, int], torch.Tensor] | None = None,
) -> Restoration:
    """Restore by one evaluation; needs no DIP.

    Args:
        prior: Network and schedule.
        noisy: Shape (1, 3, H, W).
        level: The one whose noise the picture has.
        data_consistency: As for `run_window`.
    """
    return run_window(
        prior, noisy, start_t=level, end_t=0, steps=1, init="scaled", scheduler="ddim",
        error_rms=None, seed=0, content="", data_consistency=data_consistency,
    )  # fmt: skip


def _shown(state: torch.Tensor) -> torch.Tensor:
    return to_picture(state).clamp(0, 1).cpu()


@dataclass(frozen=True)
class Error:
    """The error of a window's start: its rms in [-1, 1] units, and where the number is from."""

    rms: float
    source: str

    @property
    def sigma(self) -> float:
        """On the 0-255 scale."""
        return 127.5 * self.rms


def error_of_start(given: float | None, true_rms: float | None, why: Sequence[str]) -> Error | None:
    """Return what is known of the error of what a window starts from.

    Args:
        given: ``ddpm.error_sigma``, 0-255 scale.
        true_rms: Against the clean picture in [-1, 1] units, where there is one: an oracle's knowledge.
        why: The settings that need it, such as ``ddpm.init=matched``.

    Raises:
        UserError: When something needs it and nothing gives it.
    """
    if given is not None:
        return Error(given / 127.5, "given")
    if true_rms is not None:
        return Error(true_rms, "oracle")
    if why:
        raise error_unknown(why)
    return None
