"""Load a prior: a pretrained DDPM, which is a diffusers UNet2DModel with its noise schedule.

A folder without a scheduler gets the linear schedule of Ho et al. (https://arxiv.org/abs/2006.11239), and a note for
the user. diffusers is imported when a network is loaded.
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

ASSUMED = "no scheduler_config.json: T=1000, linear betas 1e-4..0.02, epsilon and clip_sample are assumed"


@dataclass(frozen=True, eq=False)
class Prior(Denoiser):
    """A pretrained denoiser, with its name and the hash of its weights.

    Attributes:
        unet: The network as diffusers loads it. ``evaluate`` calls it in channels_last, and for bf16 under autocast.
        sample_size: Side of the pictures that the network was trained on, in pixels.
        name: The name of the folder, or owner/repository for a prior of the Hub.
        fingerprint: The first 16 hexadecimal digits of the SHA-256 of the weights file.
        notes: The assumed values, in words, for the user.
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
        UserError: When the prior does not exist, cannot be fetched, or is no unconditional DDPM over RGB pixels.
        ValueError: For another precision.
    """
    return load(find(name, revision), device=choose_device(device), precision=precision)


def find(name: str | Path, revision: str | None = None) -> Path:
    """Return the folder of a prior; arguments and errors as for `load_prior`."""
    if Path(name).expanduser().is_dir():
        return resolve(str(name), str(name), None, None)
    inside = isinstance(name, str) and (ASSETS / name).is_dir()
    return resolve(str(name), None, None if inside else str(name), revision)


def load(folder: Path, *, device: str = "cpu", precision: str = "fp32") -> Prior:
    """Load a prior's weights as float32, and its schedule.

    Args:
        folder: The folder of the prior, as `resolve` returns it.
        device: The torch device of the network. The schedule stays on the CPU.
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

    # diffusers leaves missing weights as uninitialised memory and only logs it; its loading info lists them. It reads a
    # .bin with weights_only, so that nothing in a weights file is executed.
    try:
        with _quiet():
            loaded: Any = UNet2DModel.from_pretrained(
                str(weights.parent),
                torch_dtype=torch.float32,
                use_safetensors=weights.suffix == ".safetensors",
                low_cpu_mem_usage=False,  # True needs the package accelerate
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # torch and diffusers raise many kinds of exception for damaged files
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
        if "beta_schedule" not in config:  # score-based and flow-matching schedulers have no betas
            raise ValueError(f"{config.get('_class_name')} has no beta_schedule")
        with _quiet():
            scheduler: Any = DDPMScheduler.from_config(config)
        used = scheduler.config
        if used.thresholding or (used.clip_sample and used.clip_sample_range != 1):
            raise ValueError("neither thresholding nor a clip_sample_range other than 1 is supported")
        if used.prediction_type not in PREDICTION_TYPES:
            raise ValueError(f"prediction_type={used.prediction_type}")
        schedule = Schedule(scheduler.alphas_cumprod, used.variance_type)
    except Exception as error:  # a wrong value in the config can raise any kind of exception
        raise UserError(f"prior {file}: cannot be used ({brief(error)}); {WAY_OUT}") from error
    return schedule, used, () if file else (ASSUMED,)


def _name(folder: Path) -> str:
    """Return the folder's name, or owner/repository for a snapshot in the Hub's cache."""
    for part in folder.parts:
        if part.startswith("models--"):
            return part.removeprefix("models--").replace("--", "/", 1)
    return folder.resolve().name


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence diffusers' log inside the block. The caller checks for the faults that it would report."""
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(50)  # logging.CRITICAL
    try:
        yield
    finally:
        logging.set_verbosity(before)
