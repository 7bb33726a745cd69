"""Load a prior: a pretrained DDPM, which is a diffusers UNet2DModel with its noise schedule.

A folder without a scheduler gets the linear schedule of Ho et al. (https://arxiv.org/abs/2006.11239), and a note for
the user. diffusers is imported when a network is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dipddpm.diffusion.denoiser import Denoiser, Output, settings_of
from dipddpm.diffusion.folder import find, resolve
from dipddpm.diffusion.layout import (
    brief,
    levels,
    network_config,
    read_json,
    refusal,
    sample_size,
    scheduler_file,
    unit_of,
    weights_digest,
    weights_files,
    weights_names,
)
from dipddpm.diffusion.lean import lighten
from dipddpm.environment import arithmetic, choose_device, choose_precision, outside_inference_mode
from dipddpm.gpu import Graphs

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d import UNet2DModel

ASSUMED = "no scheduler_config.json: T=1000, linear betas 1e-4..0.02, epsilon and clip_sample are assumed"
ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # old and present names


@dataclass(frozen=True, eq=False)
class Prior(Denoiser):
    """A pretrained denoiser, with its name and the hash of its weights.

    Attributes:
        unet: The network as diffusers loads it, in channels_last. For ``bf16`` its weights are bfloat16. ``evaluate``
            calls it, on a GPU as a CUDA graph (`dipddpm.gpu`).
        sample_size: Side of the pictures that the network was trained on, in pixels.
        name: The name of the folder, or owner/repository for a prior of the Hub.
        fingerprint: The first 16 hexadecimal digits of the SHA-256 of the weights file, or of the hashes of several.
        notes: The assumed values, in words, for the user.
        unit: The sides of pictures must be multiples of this number of pixels.
    """

    unet: UNet2DModel = field(kw_only=True)
    sample_size: int = field(kw_only=True)
    name: str = field(kw_only=True)
    fingerprint: str = field(kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    unit: int = field(default=1, kw_only=True)


@outside_inference_mode
def load_prior(
    name: str | Path = "faces64", *, revision: str | None = None, device: str = "auto", precision: str = "auto"
) -> Prior:
    """Load a pretrained DDPM over pixels.

    Args:
        name: ``faces64``, which is inside the package; a folder that ``DDPMPipeline.save_pretrained`` wrote; or a
            repository of the Hugging Face Hub, such as ``google/ddpm-celebahq-256``.
        revision: Branch, tag or commit of a repository.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:<number>``.
        precision: ``fp32``, ``tf32`` (on a GPU), ``bf16``, or ``auto``: ``bf16`` where the device computes it itself
            (`dipddpm.environment.choose_precision`).

    Raises:
        UserError: When the prior does not exist, cannot be fetched, or is no unconditional DDPM over RGB pixels.
        ValueError: For another precision.
    """
    device = choose_device(device)
    return load(find(name, revision), device=device, precision=choose_precision(precision, device))


def load(folder: str | Path, *, device: str = "cpu", precision: str = "fp32") -> Prior:
    """Load a prior's weights, and its schedule.

    Args:
        folder: The folder of the prior.
        device: The torch device of the network. The schedule stays on the CPU.
        precision: ``fp32``, ``tf32`` or ``bf16``, which makes the weights bfloat16.

    Raises:
        UserError: When the folder holds no readable, complete network of the supported kind.
        ValueError: For another precision.
    """
    if precision not in ("fp32", "tf32", "bf16"):
        raise ValueError(f"precision={precision!r}: must be fp32, tf32 or bf16")
    folder = resolve("", str(folder), None, None)
    size = sample_size(folder)
    settings, notes = _schedule(folder)
    from diffusers.models.unets.unet_2d import UNet2DOutput

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    unet = _read_network(folder, dtype).requires_grad_(False).eval()
    unet.to(device=device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    lighten(unet)
    if (weights := weights_files(folder)[0].name) not in weights_names():
        notes = (*notes, f"the weights are {weights}")

    # bfloat16 weights are as near to fp32 as autocast is, which would convert them anew in each evaluation.
    held = list(unet.parameters())
    network = Graphs(lambda x, t: unet(x, t, return_dict=False)[0], f"prior {_name(folder)}", held)

    def evaluate(x: torch.Tensor, t: torch.Tensor) -> Output:
        with arithmetic(precision), torch.autocast(x.device.type, enabled=False):
            return UNet2DOutput(sample=network(x.to(dtype).contiguous(memory_format=torch.channels_last), t))

    return Prior(
        evaluate=evaluate,
        unet=unet,
        sample_size=size,
        name=_name(folder),
        fingerprint=weights_digest(folder)[:16],
        notes=notes,
        unit=unit_of(network_config(folder)),
        **settings,
    )


def empty_network(kind: type[UNet2DModel], config: Mapping[str, Any]) -> UNet2DModel:
    """Return a network without values, on the meta device. Keys that this diffusers does not know are not used."""
    with torch.device("meta"), _quiet():
        network: Any = kind.from_config(dict(config))
    return network


def _read_network(folder: Path, dtype: torch.dtype) -> UNet2DModel:
    from diffusers.models.unets.unet_2d import UNet2DModel

    config, weights = network_config(folder), weights_files(folder)
    try:
        state = _read_weights(weights)
        unet: Any = empty_network(UNet2DModel, config)
        wrong = _differences(unet.state_dict(), state)
        if not wrong:  # only now does the network take memory
            # Some blocks have kernels that are not among the weights: such a network is built with its values.
            if list(unet.buffers()):
                built: Any = UNet2DModel.from_config(config)
                unet = built.to(dtype)
            own: dict[str, torch.Tensor] = {}
            while state:  # the memory of a file's tensor ends with its copy
                name, tensor = state.popitem()
                own[name] = tensor.to(dtype, copy=True)
            unet.load_state_dict(own, assign=True)
    except Exception as error:  # torch and diffusers raise many kinds of exception for damaged files
        raise refusal(weights[0], f"the weights cannot be loaded ({brief(error)})") from error
    if wrong:
        raise refusal(weights[0], f"the weights do not fit their config.json ({wrong})")
    return unet


def _read_weights(weights: Sequence[Path]) -> dict[str, torch.Tensor]:
    """Return the tensors of weights files by name. Nothing in a file is executed.

    Those of a safetensors file are read when they are used. Each is its own mapping of the file, which frees its memory
    alone.
    """
    from safetensors import safe_open

    state: dict[str, torch.Tensor] = {}
    for file in weights:
        if file.suffix == ".safetensors":
            with safe_open(file, "pt") as opened:
                names = list(opened.keys())
            for name in names:
                with safe_open(file, "pt") as opened:
                    state[name] = opened.get_tensor(name)
        elif file.suffix == ".bin":
            state |= torch.load(file, map_location="cpu", weights_only=True)
    return {_present_name(name): tensor for name, tensor in state.items()}


def _present_name(name: str) -> str:
    """Return diffusers' present name of a weight. google/ddpm-celebahq-256 has older names of the attention."""
    parts = name.split(".")
    if "attentions" in parts:
        parts = [ATTENTION.get(part, part) for part in parts]
    return ".".join(parts)


def _differences(wanted: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> str:
    """Return the differences between a network's weights and those of a file, in words; empty where they agree."""
    kinds = {
        "missing": wanted.keys() - found.keys(),
        "unexpected": found.keys() - wanted.keys(),
        "of another shape or type": {
            name for name in wanted.keys() & found.keys()
            if wanted[name].shape != found[name].shape or not found[name].is_floating_point()
        },
    }  # fmt: skip
    return ", ".join(f"{len(names)} {kind}, such as {min(names)}" for kind, names in kinds.items() if names)


def _schedule(folder: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the settings of a `Denoiser` from the scheduler's file, and notes for the user."""
    import diffusers
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
    from diffusers.schedulers.scheduling_utils import SchedulerMixin

    file = scheduler_file(folder)
    if file is None:
        return settings_of(DDPMScheduler()), (ASSUMED,)
    T, config, notes = levels(folder), read_json(file), ()
    try:
        with _quiet():
            scheduler: Any = DDPMScheduler.from_config(config)
            # The file may be that of another sampler. Its noise levels must be those of a DDPM.
            kind: Any = getattr(diffusers, config.get("_class_name", "DDPMScheduler"), None)
            known = isinstance(kind, type) and issubclass(kind, SchedulerMixin)
            own: Any = kind.from_config(config) if known else scheduler  # pyright: ignore[reportAttributeAccessIssue]
        alphas = getattr(own, "alphas_cumprod", None)
        if alphas is None or not torch.equal(alphas, scheduler.alphas_cumprod) or config.get("use_flow_sigmas"):
            raise ValueError(f"{config.get('_class_name')} does not have the noise levels of a DDPM")
        settings = settings_of(scheduler)
        if T != (other := scheduler.config.num_train_timesteps):
            notes = (f"trained_betas has {T} values, so there are {T} noise levels, not num_train_timesteps={other}",)
    except Exception as error:  # a wrong value in the config can raise any kind of exception
        raise refusal(file, f"the scheduler cannot be used ({brief(error)})") from error
    return settings, notes


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
