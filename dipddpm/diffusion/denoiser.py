"""A denoiser: a network with its noise schedule, which estimates the clean picture and the noise at a noise level."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from dipddpm.diffusion.schedule import Schedule
from dipddpm.diffusion.steps import PREDICTION_TYPES, estimates
from dipddpm.errors import UserError
from dipddpm.gpu import sent
from dipddpm.names import LARGEST_OUTPUT


class Output(Protocol):
    """The output of an evaluation, such as diffusers' UNet2DOutput. ``sample`` has the shape of x, (N, 3, H, W)."""

    @property
    def sample(self) -> Tensor: ...


class Evaluate(Protocol):
    """A network that is called like diffusers' UNet2DModel.

    x has the shape (N, 3, H, W). t is the noise level less 1, a 0-d int64 tensor on the device of x.
    """

    def __call__(self, x: Tensor, t: Tensor, /) -> Output: ...


@dataclass
class Faults:
    """The outputs of a network that are no noise, such as NaN, and their noise levels.

    Attributes:
        later: Whether outputs are checked only by `look`. Reading a value on a GPU waits for the GPU.
    """

    later: bool = False
    _noted: list[tuple[int, Tensor]] = field(default_factory=list)

    def note(self, level: int, x_t: Tensor, output: Tensor) -> None:
        """Note whether a state and the network's output for it are sound; look at once unless ``later``.

        Raises:
            UserError, ValueError: As `look`.
        """
        if output.is_meta:
            return
        sound = (output.abs() <= LARGEST_OUTPUT).all()  # NaN is not
        self._noted.append((level, torch.stack([sound, x_t.isfinite().all()])))
        if not self.later:
            self.look()

    def look(self) -> None:
        """Refuse the first output that is not sound, of those noted since the last look.

        Raises:
            UserError: When the output is not finite, or is beyond 1e6.
            ValueError: When the state was not finite.
        """
        noted, self._noted = self._noted, []
        seen = torch.stack([sound for _, sound in noted]).tolist() if noted else []
        for (level, _), (sound, finite) in zip(noted, seen, strict=True):
            if sound:
                continue
            if not finite:
                raise ValueError(f"the state at noise level {level} is not finite: give a finite picture")
            raise UserError(
                f"the prior's output at noise level {level} is not finite, or beyond {LARGEST_OUTPUT:,.0f}: its "
                "weights are damaged; give prior.path=<another folder>"
            )


@dataclass(frozen=True, eq=False)
class Denoiser:
    """A network's estimates of the clean picture and of the noise.

    Attributes:
        evaluate: The network.
        schedule: The noise schedule that the network was trained with.
        prediction_type: The output of the network: ``epsilon``, ``v_prediction`` or ``sample``.
        clip_sample: Whether each clean estimate is clipped to [-1, 1].

    Raises:
        ValueError: For an unknown ``prediction_type``.
    """

    evaluate: Evaluate
    schedule: Schedule
    prediction_type: str = "epsilon"
    clip_sample: bool = True

    def __post_init__(self) -> None:
        if self.prediction_type not in PREDICTION_TYPES:
            raise ValueError(f"prediction_type={self.prediction_type!r}: must be one of {', '.join(PREDICTION_TYPES)}")

    def estimate(
        self, x_t: Tensor, level: int, *, exact: bool = False, faults: Faults | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the clean estimate and the noise estimate of states at a level, shapes as ``x_t``.

        Args:
            x_t: Shape (N, 3, H, W), float32.
            level: The noise level, 1..T.
            exact: Evaluate one picture at a time, so that the last bits do not depend on N.
            faults: Where an output that is no noise is noted. None raises at once.

        Returns:
            The clean estimate, clipped to [-1, 1] with ``clip_sample``, and the noise estimate. Both are finite, unless
            ``faults`` are looked at later.

        Raises:
            UserError: When the network's output is not finite, or is beyond 1e6.
            ValueError: When the state is not finite.
        """
        t = sent(torch.tensor(level - 1), x_t.device)
        rows = x_t.split(1) if exact else (x_t,)
        output = torch.cat([self.evaluate(row, t).sample for row in rows])
        output = output.to(x_t.dtype)  # states stay float32 when the network runs in bfloat16
        (faults or Faults()).note(level, x_t, output)
        x0, eps = estimates(x_t, output, self.schedule.alpha_bar(level), self.prediction_type)
        return (x0.clamp(-1, 1) if self.clip_sample else x0), eps


def settings_of(scheduler: Any) -> dict[str, Any]:
    """Return the keywords of a `Denoiser` that follow from a diffusers scheduler with the noise levels of a DDPM.

    Raises:
        ValueError: When a window cannot make the scheduler's steps.
    """
    used = scheduler.config
    clips = used.get("clip_sample", True)
    if used.get("thresholding") or (clips and used.get("clip_sample_range", 1) != 1):
        raise ValueError("neither thresholding nor a clip_sample_range other than 1 is supported")
    if used["prediction_type"] not in PREDICTION_TYPES:
        raise ValueError(f"prediction_type={used['prediction_type']}: must be one of {', '.join(PREDICTION_TYPES)}")
    schedule = Schedule(scheduler.alphas_cumprod, used.get("variance_type") or "fixed_small")
    return {"schedule": schedule, "prediction_type": used["prediction_type"], "clip_sample": clips}
