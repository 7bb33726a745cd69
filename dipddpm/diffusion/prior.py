"""A pretrained DDPM, ready to be sampled from: a diffusers UNet2DModel and its noise schedule.

A folder without a scheduler gets the linear schedule of Ho et al. (https://arxiv.org/abs/2006.11239), and a note that
says so. diffusers is imported when a network is loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dipddpm.diffusion.denoiser import Denoiser, Output
from dipddpm.diffusion.folder import (
    ASSETS,
    WAY_OUT,
    brief,
    read_json,
    resolve,
    sample_size,
    scheduler_file,
    weights_file,
)
from dipddpm.diffusion.schedule import Schedule
from dipddpm.diffusion.steps import PREDICTION_TYPES
from dipddpm.environment import choose_device
from dipddpm.errors import UserError

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d import UNet2DModel

__all__ = ["Prior", "find", "load", "load_prior", "resolve", "sample_size"]

ASSUMED = "no scheduler_config.json: assumed T=1000, linear betas 1e-4..0.02, epsilon, clip_sample"


@dataclass(frozen=True, eq=False)
class Prior(Denoiser):
    """A denoiser and what to record about it.

    Attributes:
        unet: The network as diffusers loads it; ``evaluate`` calls it in channels_last, under autocast if bf16.
        sample_size: Side of the pictures that it was trained on, in pixels.
        name: Of its folder, or owner/repository for one of the Hub.
        fingerprint: The first 16 hexadecimal digits of the SHA-256 of the weights file.
        notes: Values that had to be assumed, for the user to see.
    """

    unet: UNet2DModel = field(kw_only=True)
    sample_size: int = field(kw_only=True)
    name: str = field(kw_only=True)
    fingerprint: str = field(kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)


def load_prior(
    name: str | Path = "faces64", *, revision: str | None = None, device: str = "auto", precision: str = "fp32"
) -> Prior:
    """Load a pretrained DDPM over pixels.

    Args:
        name: ``faces64``, which is inside the package; a folder that ``DDPMPipeline.save_pretrained`` wrote; or a
            repository of the Hugging Face Hub, such as ``google/ddpm-celebahq-256``.
        revision: Branch, tag or commit of a repository.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:<number>``.
        precision: ``fp32``, or ``bf16`` for evaluations under autocast.

    Raises:
        UserError: When there is no such prior, or it is of another kind.
    """
    return load(find(name, revision), device=choose_device(device), precision=precision)


def find(name: str | Path, revision: str | None = None) -> Path:
    """Return the folder of a prior that is named in one word, as for `load_prior`."""
    if Path(name).expanduser().is_dir():
        return resolve(str(name), str(name), None, None)
    inside = isinstance(name, str) and (ASSETS / name).is_dir()
    return resolve(str(name), None, None if inside else str(name), revision)


def load(folder: Path, *, device: str = "cpu", precision: str = "fp32") -> Prior:
    """Load a prior's weights, always as float32, and its schedule.

    Args:
        folder: As ``resolve`` returns it; see ``dipddpm.diffusion.folder``.
        device: Where the network runs; the schedule stays on the CPU.
        precision: ``fp32``, or ``bf16`` for evaluations under autocast.

    Raises:
        UserError: When the folder holds no readable, complete network of the supported kind.
        ValueError: For another precision.
    """
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision={precision!r}: must be fp32 or bf16")
    size = sample_size(folder)
    weights = weights_file(folder)
    schedule, config, notes = _schedule(folder)

    unet = _read_network(weights).requires_grad_(False).eval()
    unet.to(device=device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def evaluate(x: torch.Tensor, t: torch.Tensor) -> Output:
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            return unet(x.contiguous(memory_format=torch.channels_last), t)

    with weights.open("rb") as file:
        fingerprint = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return Prior(
        evaluate=evaluate,
        unet=unet,
        schedule=schedule,
        prediction_type=config.prediction_type,
        clip_sample=config.clip_sample,
        sample_size=size,
        name=_name(folder),
        fingerprint=fingerprint,
        notes=notes,
    )


def _read_network(weights: Path) -> UNet2DModel:
    from diffusers.models.unets.unet_2d import UNet2DModel

    # diffusers leaves absent weights as uninitialised memory and only logs it: ask what it did. It
    # reads a .bin with weights_only, so that nothing in a weights file is executed.
    try:
        with _quiet():
            loaded: Any = UNet2DModel.from_pretrained(
                str(weights.parent),
                torch_dtype=torch.float32,
                use_safetensors=weights.suffix == ".safetensors",
                low_cpu_mem_usage=False,  # True asks for accelerate
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # whatever a damaged config or file makes of torch and diffusers
        raise UserError(f"prior {weights}: cannot be loaded ({brief(error)}); {WAY_OUT}") from error
    unet, info = loaded
    wrong = ", ".join(f"{len(keys)} {kind}" for kind, keys in info.items() if keys)
    if wrong:
        raise UserError(f"prior {weights}: does not fit its config.json ({wrong}); {WAY_OUT}")
    return unet


def _schedule(folder: Path) -> tuple[Schedule, Any, tuple[str, ...]]:
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    file = scheduler_file(folder)
    config = read_json(file) if file else {"beta_schedule": "linear"}
    try:
        if "beta_schedule" not in config:  # score-based and flow-matching schedulers have none
            raise ValueError(f"{config.get('_class_name')} has no beta_schedule")
        with _quiet():
            scheduler: Any = DDPMScheduler.from_config(config)
        used = scheduler.config
        if used.thresholding or (used.clip_sample and used.clip_sample_range != 1):
            raise ValueError("neither thresholding nor a clip_sample_range other than 1 is supported")
        if used.prediction_type not in PREDICTION_TYPES:
            raise ValueError(f"prediction_type={used.prediction_type}")
        schedule = Schedule(scheduler.alphas_cumprod, used.variance_type)
    except Exception as error:  # a nonsensical value in the config can raise anything
        raise UserError(f"prior {file}: cannot be used ({brief(error)}); {WAY_OUT}") from error
    return schedule, used, () if file else (ASSUMED,)


def _name(folder: Path) -> str:
    """The folder's name, or owner/repository for a snapshot in the Hub's cache."""
    for part in folder.parts:
        if part.startswith("models--"):
            return part.removeprefix("models--").replace("--", "/", 1)
    return folder.resolve().name


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold diffusers' log back: what matters in it is checked and raised."""
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(50)  # logging.CRITICAL
    try:
        yield
    finally:
        logging.set_verbosity(before)
