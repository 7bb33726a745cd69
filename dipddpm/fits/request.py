"""What determines a fit, as JSON types: the hash of the request is the fit's key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dipddpm import seeds
from dipddpm.degradation.problem import Problem, content_hashes
from dipddpm.dip.settings import DipSettings
from dipddpm.names import FIT_VERSION

REAL = ("lr", "input_noise", "ema")  # settings that are stored as floating-point numbers however they were typed


def request_of(problem: Problem, settings: DipSettings, seed: int, noise: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request of a fit.

    Stopping rule, ``max_epochs`` and device stay out: they choose from a trajectory and do not change it. Noise and
    operator stand under ``degrade``.

    Args:
        problem: Of one picture.
        settings: Of a network that is registered under a name.
        seed: Of the fit.
        noise: What was added to the picture whose content seeds the fit; ``{"kind": "none"}`` where that picture is y.
    """
    values = asdict(settings)
    del values["max_epochs"]
    return {
        "version": FIT_VERSION,
        "pixels": problem.content,
        "size": list(problem.noisy.shape[-2:]),
        "degrade": {**noise, **problem.operator.request()},
        "dip": values | {name: float(values[name]) for name in REAL},
        "seed": seed,
    }


def noise_of(problem: Problem) -> dict[str, Any]:
    """Return the noise of a request where no configuration tells its kind.

    Where the fit is seeded by y itself, y determines it, as in a run with ``image=noisy``. Otherwise a hash of y tells
    noises apart.
    """
    noise: dict[str, Any] = {"kind": "none"}
    if problem.contents != content_hashes(problem.y):
        noise["noisy"] = seeds.content_hash(problem.noisy.cpu())
    if problem.clean is not None:  # it enters the stored curves, not the weights
        noise["reference"] = seeds.content_hash(problem.clean.cpu())
    return noise
