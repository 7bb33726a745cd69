"""A pretrained DDPM, ready to be sampled from: a diffusers UNet2DModel and its noise schedule.

``resolve`` finds the folder, ``sample_size`` reads its picture size, ``load`` loads it. A folder
without a scheduler gets the linear schedule of Ho et al. (https://arxiv.org/abs/2006.11239), and
a note that says so. torch and diffusers are imported when something is loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dipddpm.diffusion.folder import WAY_OUT, brief, read_json, resolve, sample_size, scheduler_file, weights_file
from dipddpm.errors import UserError

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d import UNet2DModel

    from dipddpm.diffusion.schedule import Schedule

__all__ = ["Prior", "load", "resolve", "sample_size"]

ASSUMED = "no scheduler_config.json: assumed T=1000, linear betas 1e-4..0.02, epsilon, clip_sample"


@dataclass(frozen=True, eq=False)
class Prior:
    """A network, its schedule and what to record about them."""

    evaluate: Callable[[Any, Any], Any]
    """The network as ``dipddpm.diffusion.sampler`` calls it: channels_last, under autocast if bf16."""
    unet: UNet2DModel
    schedule: Schedule
    prediction_type: str
    clip_sample: bool
    sample_size: int
    parameters: int
    name: str
    fingerprint: str
    """The first 16 hexadecimal digits of the SHA-256 of the weights file."""
    notes: tuple[str, ...]
    """Values that had to be assumed, for the user to see."""


def load(folder: Path, *, device: str = "cpu", precision: str = "fp32") -> Prior:
    """Load a prior's weights, always as float32, and its schedule.

    Args:
        folder: As ``resolve`` returns it; see ``dipddpm.diffusion.folder``.
        device: Where the network runs; the schedule stays on the CPU.
        precision: ``fp32``, or ``bf16`` for evaluations under autocast.

    Raises:
        UserError: When the folder holds no readable, complete network of the supported kind.
    """
    if precision not in ("fp32", "bf16"):
        raise UserError(f"ddpm.precision={precision}: must be fp32 or bf16")
    size = sample_size(folder)
    weights = weights_file(folder)
    schedule, config, notes = _schedule(folder)

    import torch

    unet = _read_network(weights).requires_grad_(False).eval()
    unet = unet.to(device=device).to(memory_format=torch.channels_last)

    def evaluate(x: torch.Tensor, t: torch.Tensor) -> Any:
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
        parameters=unet.num_parameters(),
        name=_name(folder),
        fingerprint=fingerprint,
        notes=notes,
    )


def _read_network(weights: Path) -> Any:
    import torch
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

    from dipddpm.diffusion.schedule import PREDICTION_TYPES, Schedule

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
