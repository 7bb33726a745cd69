"""The request of a fit: the values that determine it, as JSON types. The hash of the request is the fit's key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dipddpm import seeds
from dipddpm.degradation.noise import NOISES
from dipddpm.degradation.problem import Problem, content_hashes
from dipddpm.dip.settings import DipSettings
from dipddpm.names import FIT_VERSION

REAL = ("lr", "input_noise", "ema")  # settings that are stored as floating-point numbers, also when typed as integers


def request_of(problem: Problem, settings: DipSettings, seed: int, noise: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request of a fit.

    Stopping rule, ``max_epochs`` and device are left out: they do not change the epochs of a fit. Noise and
    operator stand under ``degrade``.

    Args:
        problem: A problem of one picture.
        settings: The settings of a registered network, with a precision other than ``auto``.
        seed: The seed of the fit.
        noise: The noise that was added to the picture whose content seeds the fit; ``{"kind": "none"}`` where that
            picture is y.

    Raises:
        ValueError: For ``precision=auto``.
    """
    if settings.precision == "auto":
        raise ValueError("precision=auto: a stored fit has the precision of its device (environment.choose_precision)")
    values = asdict(settings)
    del values["max_epochs"]
    if values["loss"] == "mse":  # so that older fits keep their keys
        del values["loss"]
    if not values["holdout"]:
        del values["holdout"]
    return {
        "version": FIT_VERSION,
        "pixels": problem.content,
        "size": list(problem.noisy.shape[-2:]),
        "degrade": {**noise, **problem.operator.request()},
        "dip": values | {name: float(values[name]) for name in REAL},
        "seed": seed,
    }


def noise_of(problem: Problem, seed: int) -> dict[str, Any]:
    """Return the entry for the noise of a problem. The same problem has the same entry in a run and from Python.

    Registered noise that `dipddpm.degradation.problem.degrade` added by the seed of the fit is named by its settings.
    A y that seeds its own fit determines it. Otherwise the entry has a hash of y, which differs from noise to noise.
    """
    noise: dict[str, Any] = {"kind": "none"}
    if problem.added is not None:
        kind, of_noise = problem.added
        values, plain = asdict(kind), {"none": "gaussian", "correlated": "gaussian"}  # as the first fits were stored
        named = NOISES.get(kind.name) is type(kind) and all(isinstance(v, int | float) for v in values.values())
        if named and of_noise == seed:
            return {"kind": plain.get(kind.name, kind.name), **{name: float(v) for name, v in values.items()}}
    if problem.contents != content_hashes(problem.y):
        noise["noisy"] = seeds.content_hash(problem.noisy.cpu())
    if problem.clean is not None:  # the clean picture changes the stored curves, not the weights
        noise["reference"] = seeds.content_hash(problem.clean.cpu())
    return noise
