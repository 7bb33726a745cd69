"""A window of the chain as a diffusers pipeline: a DDPM that starts from a picture.

    pipeline = WindowPipeline.from_pretrained("google/ddpm-celebahq-256")
    restored = pipeline(image=picture, start_t=50, num_inference_steps=10).images[0]

A ``DDPMScheduler`` draws noise at each step. For DDIM, replace the scheduler, as for any pipeline:
``pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple, TypedDict, Unpack

import numpy as np
import PIL.Image
import torch
from diffusers.image_processor import PipelineImageInput, VaeImageProcessor
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from PIL.Image import Image

from dipddpm.diffusion.denoiser import Denoiser, Output, settings_of
from dipddpm.diffusion.folder import ASSETS
from dipddpm.diffusion.inits import Init, initial_state
from dipddpm.diffusion.layout import parts_beside_the_network, unit_of
from dipddpm.diffusion.sampler import Snapshot, sample_window
from dipddpm.diffusion.schedule import to_state
from dipddpm.diffusion.window import Window
from dipddpm.pictures.check import check_floating

Generator = torch.Generator | list[torch.Generator] | None
Pictures = list[PIL.Image.Image] | np.ndarray | torch.Tensor  # by the output_type: pil, np or pt
OnStepEnd = Callable[[DiffusionPipeline, int, int, dict[str, Any]], dict[str, Any] | None]
OUTPUTS = ("pil", "np", "pt", "latent")
DEEP = ("I", "F")  # first letters of PIL's modes whose values are not 0 to 255; convert("RGB") would clip them
KINDS = {DDPMScheduler: "ddpm", DDIMScheduler: "ddim"}  # of steps, by the class of the pipeline's scheduler


class Options(TypedDict, total=False):
    """The keywords of a call that every pipeline of diffusers has."""

    output_type: Literal["pil", "np", "pt", "latent"]
    return_dict: bool
    callback_on_step_end: OnStepEnd | None


class Begun(NamedTuple):
    """A window before its first step: its states, one generator for each, its network, its kind of step."""

    state: torch.Tensor
    generators: list[torch.Generator]
    denoiser: Denoiser
    kind: str

    def walk(self, state: torch.Tensor, levels: list[int], every: int = 1) -> Iterator[Snapshot]:
        """Take states down these levels, with a snapshot every ``every`` levels."""
        return sample_window(
            self.denoiser, state, levels, self.generators, scheduler=self.kind, snapshot_every=every
        )  # fmt: skip


class WindowPipeline(DiffusionPipeline):
    """Restore pictures by the last part of a DDPM's chain.

    Args:
        unet: An unconditional network over RGB pixels.
        scheduler: A ``DDPMScheduler``, or a ``DDIMScheduler``.
    """

    model_cpu_offload_seq = "unet"
    unet: UNet2DModel
    scheduler: DDPMScheduler | DDIMScheduler

    def __init__(self, unet: UNet2DModel, scheduler: DDPMScheduler | DDIMScheduler) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.image_processor = VaeImageProcessor(vae_scale_factor=1)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any) -> WindowPipeline:
        """Load a pipeline from a folder that ``DDPMPipeline.save_pretrained`` wrote, or from a repository of the Hub.

        ``faces64`` is the prior inside this package. Keyword arguments are those of diffusers.

        Raises:
            ValueError: For a pipeline of another kind, such as one over latents. Otherwise diffusers' own errors.
        """
        inside = ASSETS / str(pretrained_model_name_or_path)
        path = inside if (inside / "model_index.json").is_file() else pretrained_model_name_or_path
        of_hub = ("cache_dir", "local_files_only", "proxies", "revision", "token")
        index: Any = cls.load_config(path, **{key: kwargs[key] for key in of_hub if key in kwargs})
        if others := parts_beside_the_network(index):
            raise ValueError(f"{path} has {', '.join(others)} beside its network: give a DDPM over pixels")
        # Without accelerate diffusers would print five lines about it.
        kwargs.setdefault("low_cpu_mem_usage", find_spec("accelerate") is not None)
        return super().from_pretrained(path, **kwargs)  # pyright: ignore[reportReturnType]

    @torch.no_grad()
    def __call__(
        self,
        image: PipelineImageInput,
        start_t: int = 25,
        end_t: int = 0,
        num_inference_steps: int | None = None,
        init: str | Init = "scaled",
        generator: Generator = None,
        **options: Unpack[Options],
    ) -> ImagePipelineOutput:
        """Take pictures at noise level ``start_t`` down to ``end_t``.

        Args:
            image: The start: PIL pictures, arrays (N, H, W, 3) or tensors (N, 3, H, W) in [0, 1], one or a list of one
                size, whose sides the network can halve.
            start_t: First noise level, 1..T. Level t is diffusers' timestep t - 1.
            end_t: Last level, 0..start_t - 1. Above 0 the result is still noisy.
            num_inference_steps: Network evaluations, evenly spaced over the window; None: one a level.
            init: The rule for the first state: ``raw``, ``scaled``, ``diffused``, ``noise``, or your own rule.
            generator: Generator of the noise, or a list of one for each picture.
            **options: ``output_type`` is ``pil`` (the default), ``np``, ``pt``, or ``latent``, the state. With
                ``return_dict=False`` the result is the tuple ``(images,)``. ``callback_on_step_end`` is called as
                ``(pipeline, step, timestep, {"latents": x_t})``; ``latents`` in the dictionary that it returns replaces
                the state.

        Raises:
            ValueError: For a window outside the schedule, an unknown init or output_type, an image of another type,
                shape or size, another network, or a scheduler whose steps a window cannot make.
            TypeError: For an unknown option, or a generator of another type, such as a seed.
        """
        if unknown := ", ".join(options.keys() - Options.__annotations__.keys()):
            raise TypeError(f"{unknown} cannot be given; the options are: {', '.join(Options.__annotations__)}")
        if (output_type := options.get("output_type", "pil")) not in OUTPUTS:
            raise ValueError(f"output_type={output_type!r}: must be one of {', '.join(OUTPUTS)}")
        callback = options.get("callback_on_step_end")
        window = Window(start_t, end_t, num_inference_steps, init=init)
        begun = self._begin(image, window, generator)
        state, levels = begun.state, window.levels
        bar: Any = self.progress_bar  # pyright: ignore[reportAssignmentType]
        for step, (t, s) in enumerate(zip(bar(levels[:-1]), levels[1:], strict=True)):
            for snapshot in begun.walk(state, [t, s]):
                state = snapshot.x_t
            if callback is not None:
                state = (callback(self, step, t - 1, {"latents": state}) or {}).get("latents", state)
        pictures = self._shown(state, output_type)
        self.maybe_free_model_hooks()
        if not options.get("return_dict", True):
            return (pictures,)  # pyright: ignore[reportReturnType]
        return ImagePipelineOutput(images=pictures)  # pyright: ignore[reportArgumentType]

    def iterate(
        self,
        image: PipelineImageInput,
        window: Window,
        generator: Generator = None,
        output_type: Literal["pil", "np", "pt"] = "pil",
    ) -> Iterator[tuple[int, Pictures]]:
        """Yield (level, pictures) every ``window.snapshot_every`` levels and at the end of the window.

        Of the window the levels, ``init`` and ``snapshot_every`` are used: the scheduler is the pipeline's, the noise
        is the generator's, and the pipeline knows no y to agree with.
        """
        begun = self._begin(image, window, generator)
        for snapshot in begun.walk(begun.state, window.levels, window.snapshot_every):
            yield snapshot.level, self._shown(snapshot.x_t, output_type)

    def _begin(self, image: PipelineImageInput, window: Window, generator: Generator) -> Begun:
        kind = next((kind for of, kind in KINDS.items() if isinstance(self.scheduler, of)), None)
        if kind is None:
            raise ValueError(
                f"the scheduler is {type(self.scheduler).__name__}, and must be DDPMScheduler or DDIMScheduler: set "
                "pipeline.scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)"
            )
        used: Any = self.unet.config
        if (used.in_channels, used.out_channels) != (3, 3) or used.num_class_embeds or used.class_embed_type:
            raise ValueError(
                f"the network has {used.in_channels} channels in, {used.out_channels} out and "
                f"{used.num_class_embeds or 'no'} classes: must be an unconditional network over RGB pixels"
            )
        denoiser = Denoiser(self._evaluate, **settings_of(self.scheduler))
        if window.first > denoiser.schedule.T:
            raise ValueError(f"start_t={window.first}: must be at most {denoiser.schedule.T}")
        p = self._read(image).to(device=self._execution_device, dtype=torch.float32)
        given = generator if isinstance(generator, list) else [generator]
        if generator is not None and not all(isinstance(one, torch.Generator) for one in given):
            raise TypeError("generator: give a torch.Generator, such as torch.Generator().manual_seed(0), or a list")
        if isinstance(generator, list) and len(generator) != len(p):
            raise ValueError(f"generator: {len(generator)} for {len(p)} pictures; give one, or one for each picture")
        if generator is None:
            generator = [torch.Generator().manual_seed(torch.seed()) for _ in p]
        generators = generator if isinstance(generator, list) else [generator] * len(p)
        state = initial_state(window.init, p, denoiser.schedule.alpha_bar(window.first), generators)
        return Begun(state, generators, denoiser, kind)

    def _read(self, image: PipelineImageInput) -> torch.Tensor:
        """Return the pictures as states in [-1, 1], shape (N, 3, H, W).

        An array or a tensor is taken as it is. diffusers' processor would take a noisy picture, whose values leave
        [0, 1], for a state in [-1, 1], and resize every PIL picture of a list to the size of the first.
        """
        listed: list[Any] = list(image) if isinstance(image, list | tuple) else [image]
        states = [self._read_one(one) for one in listed]
        sizes = sorted({f"{state.shape[3]}x{state.shape[2]}" for state in states})
        unit = unit_of(self.unet.config)
        if len(sizes) != 1:
            raise ValueError(f"image has {' and '.join(sizes) or 'no picture'}: give pictures of one size")
        if any(side % unit for side in states[0].shape[2:]):
            raise ValueError(f"image has {sizes[0]} pixels: the network takes multiples of {unit} pixels a side")
        return torch.cat(states)

    def _read_one(self, one: Any) -> torch.Tensor:
        """Return a picture, or a batch of them, as states of shape (N, 3, H, W)."""
        if isinstance(one, Image):
            if one.mode.startswith(DEEP):
                raise ValueError(f"image has the mode {one.mode}, not 0 to 255: give dd.read_picture(<file>)")
            return self.image_processor.preprocess(one.convert("RGB"))
        if isinstance(one, np.ndarray) and one.ndim in (3, 4):
            one = torch.from_numpy(np.array(one)).movedim(-1, -3)
        if not isinstance(one, torch.Tensor) or one.ndim not in (3, 4) or one.shape[-3] != 3:
            what = f"of shape {tuple(one.shape)}" if isinstance(one, torch.Tensor | np.ndarray) else repr(one)
            raise ValueError(f"image {what}: give PIL pictures, arrays (N, H, W, 3) or tensors (N, 3, H, W)")
        check_floating("image", one)
        return to_state(one if one.ndim == 4 else one[None])

    def _shown(self, state: torch.Tensor, output_type: str) -> Pictures:
        shown: Any = self.image_processor.postprocess(state, output_type=output_type)  # hinted as one PIL picture
        return shown

    def _evaluate(self, x: torch.Tensor, t: torch.Tensor) -> Output:
        return self.unet(x.to(self.unet.dtype), t)
