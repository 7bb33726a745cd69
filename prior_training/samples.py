"""Draw pictures from pure noise, by the whole chain or by a few DDIM steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.pipelines.ddim.pipeline_ddim import DDIMPipeline
from diffusers.pipelines.ddpm.pipeline_ddpm import DDPMPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from dipddpm import seeds


def draw(
    unet: UNet2DModel, scheduler: DDPMScheduler, indices: Sequence[int], steps: int | None = None, seed: int = 0
) -> torch.Tensor:
    """Run the chain from noise down to a picture.

    Args:
        unet: diffusers UNet2DModel.
        scheduler: diffusers DDPMScheduler of the network's training.
        indices: Indices of the samples. The noise of a sample depends on its index and the seed only.
        steps: Evaluations of DDIM, evenly spaced; None: the whole DDPM chain.
        seed: Seed of the noise.

    Returns:
        float32, shape (len(indices), 3, H, W), in [0, 1].
    """
    generators = [seeds.generator(seed, "unconditional", i) for i in indices]
    if steps is None:
        pipeline: Any = DDPMPipeline(unet, scheduler)
        steps = scheduler.config["num_train_timesteps"]
    else:
        ddim: Any = DDIMScheduler.from_config(scheduler.config, timestep_spacing="trailing")  # begins at level T
        pipeline = DDIMPipeline(unet, ddim)
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline(len(indices), generator=generators, num_inference_steps=steps, output_type="np").images
    return torch.from_numpy(drawn).permute(0, 3, 1, 2)


def grid(pictures: torch.Tensor) -> torch.Tensor:
    """Lay pictures, shape (N, 3, H, W), out in a grid that is nearly square. Empty places are black.

    Returns:
        Shape (3, rows x H, columns x W).
    """
    n, c, h, w = pictures.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    padded = torch.cat([pictures, pictures.new_zeros(rows * columns - n, c, h, w)])
    return padded.view(rows, columns, c, h, w).permute(2, 0, 3, 1, 4).reshape(c, rows * h, columns * w)
