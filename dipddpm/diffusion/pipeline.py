"""A window of the chain as a diffusers pipeline: a DDPM that starts from a picture.

    pipeline = WindowPipeline.from_pretrained("google/ddpm-celebahq-256")
    restored = pipeline(image=picture, start_t=50, num_inference_steps=10).images[0]

A ``DDPMScheduler`` draws noise at each step. For DDIM, replace the scheduler, as for any pipeline:
``pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import PIL.Image
import torch
from diffusers.image_processor import PipelineImageInput, VaeImageProcessor
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from PIL.Image import Image

from dipddpm.diffusion.denoiser import Denoiser, Output
from dipddpm.diffusion.folder import ASSETS
from dipddpm.diffusion.inits import Init, initial_state
from dipddpm.diffusion.sampler import Snapshot, sample_window
from dipddpm.diffusion.schedule import Schedule, to_state
from dipddpm.diffusion.window import Window
from dipddpm.pictures.check import check_floating

Generator = torch.Generator | list[torch.Generator] | None
Pictures = list[PIL.Image.Image] | np.ndarray | torch.Tensor  # by the output_type: pil, np or pt
OnStepEnd = Callable[[DiffusionPipeline, int, int, dict[str, Any]], dict[str, Any] | None]


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
        """
        inside = ASSETS / str(pretrained_model_name_or_path)
        path = inside if (inside / "model_index.json").is_file() else pretrained_model_name_or_path
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
        output_type: Literal["pil", "np", "pt"] = "pil",
        callback_on_step_end: OnStepEnd | None = None,
    ) -> ImagePipelineOutput:
        """Take pictures at noise level ``start_t`` down to ``end_t``.

        Args:
            image: The start: PIL pictures, arrays (N, H, W, 3) or tensors (N, 3, H, W) in [0, 1], one or a list.
            start_t: First noise level, 1..T. Level t is diffusers' timestep t - 1.
            end_t: Last level, 0..start_t - 1. Above 0 the result is still noisy.
            num_inference_steps: Network evaluations, evenly spaced over the window; None: one a level.
            init: The rule for the first state: ``raw``, ``scaled``, ``diffused``, ``noise``, or your own rule.
            generator: Generator of the noise, or a list of one for each picture.
            output_type: ``pil``, ``np`` or ``pt``.
            callback_on_step_end: Called as ``(pipeline, step, timestep, {"latents": x_t})``. ``latents`` in the
                dictionary that it returns replaces the state.

        Raises:
            ValueError: For a window outside the schedule, an unknown init, or an image of another type or shape.
        """
        window = Window(start_t, end_t, num_inference_steps)
        state, generators, draws = self._begin(image, window, init, generator)
        levels = window.levels
        bar: Any = self.progress_bar  # pyright: ignore[reportAssignmentType]
        for step, (t, s) in enumerate(zip(bar(levels[:-1]), levels[1:], strict=True)):
            for snapshot in self._window(state, [t, s], generators, draws):
                state = snapshot.x_t
            if callback_on_step_end is not None:
                changed = callback_on_step_end(self, step, t - 1, {"latents": state})
                state = (changed or {}).get("latents", state)
        pictures = self._shown(state, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=pictures)  # pyright: ignore[reportArgumentType]

    def iterate(
        self,
        image: PipelineImageInput,
        window: Window,
        generator: Generator = None,
        output_type: Literal["pil", "np", "pt"] = "pil",
    ) -> Iterator[tuple[int, Pictures]]:
        """Yield (level, pictures) every ``window.snapshot_every`` levels and at the end of the window.

        The window's ``scheduler``, ``samples``, ``seed`` and ``exact`` are not used: the scheduler is the pipeline's,
        and the noise is the generator's.
        """
        state, generators, draws = self._begin(image, window, window.init, generator)
        for snapshot in self._window(state, window.levels, generators, draws, window.snapshot_every):
            yield snapshot.level, self._shown(snapshot.x_t, output_type)

    def _begin(
        self, image: PipelineImageInput, window: Window, init: str | Init, generator: Generator
    ) -> tuple[torch.Tensor, list[torch.Generator], str]:
        """Return the first states, one generator for each picture, and the kind of step."""
        levels = self.scheduler.config["num_train_timesteps"]
        if window.first > levels:
            raise ValueError(f"start_t={window.first}: must be at most {levels}")
        device = self._execution_device
        p = self._read(image).to(device=device, dtype=torch.float32)
        if isinstance(generator, list) and len(generator) != len(p):
            raise ValueError(f"generator: {len(generator)} for {len(p)} pictures; give one, or one for each picture")
        if generator is None:
            generator = [torch.Generator().manual_seed(torch.seed()) for _ in p]
        generators = generator if isinstance(generator, list) else [generator] * len(p)
        ab = self._denoiser().schedule.alpha_bar(window.first)
        return initial_state(init, p, ab, generators), generators, self._step()

    def _read(self, image: PipelineImageInput) -> torch.Tensor:
        """Return the pictures as states in [-1, 1], shape (N, 3, H, W).

        A tensor is taken as it is. diffusers' processor would take a noisy picture, whose values leave [0, 1], for a
        state in [-1, 1].
        """
        listed: list[Any] = list(image) if isinstance(image, list | tuple) else [image]
        for one in listed:
            if isinstance(one, torch.Tensor | np.ndarray):
                check_floating("image", one)
        if all(isinstance(one, torch.Tensor) and one.ndim in (3, 4) for one in listed):
            return to_state(torch.cat([one if one.ndim == 4 else one[None] for one in listed]))
        pictures = [one.convert("RGB") if isinstance(one, Image) else one for one in listed]
        return self.image_processor.preprocess(pictures)

    def _shown(self, state: torch.Tensor, output_type: str) -> Pictures:
        shown: Any = self.image_processor.postprocess(state, output_type=output_type)  # hinted as one PIL picture
        return shown

    def _step(self) -> str:
        return "ddim" if isinstance(self.scheduler, DDIMScheduler) else "ddpm"

    def _denoiser(self) -> Denoiser:
        config, scheduler = self.scheduler.config, self.scheduler
        variance = config.get("variance_type", "fixed_small")
        schedule = Schedule(scheduler.alphas_cumprod, variance)
        return Denoiser(self._evaluate, schedule, config["prediction_type"], config["clip_sample"])

    def _evaluate(self, x: torch.Tensor, t: torch.Tensor) -> Output:
        return self.unet(x.to(self.unet.dtype), t)

    def _window(
        self,
        state: torch.Tensor,
        levels: list[int],
        generators: list[torch.Generator],
        scheduler: str,
        snapshot_every: int = 1,
    ) -> Iterator[Snapshot]:
        return sample_window(
            self._denoiser(), state, levels, generators, scheduler=scheduler, snapshot_every=snapshot_every
        )
