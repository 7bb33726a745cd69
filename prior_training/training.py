"""A network in training: its batches, its steps, and its checkpoint.

The network predicts epsilon under the linear schedule of Ho et al. (https://arxiv.org/abs/2006.11239): T = 1000,
betas from 1e-4 to 0.02. google/ddpm-celebahq-256 has the same schedule.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.training_utils import EMAModel

from dipddpm import seeds
from dipddpm.files import replacing
from prior_training.levels import draw_levels, stratified
from prior_training.optimizer import adamw, muon_and_adamw
from prior_training.settings import Loss, Optimizer, Precision, Settings, build_unet


class Training:
    """The state of a training: network, averaged weights, optimisers, random generator and counters.

    Args:
        settings: The settings, checked by `prior_training.settings.typed`.
        device: ``cpu``, ``cuda`` or ``cuda:<n>``.

    Attributes:
        seen: Number of pictures so far, repeats included.
        seconds: Seconds of the training so far. The caller of `step` counts them.
    """

    def __init__(self, settings: Settings, device: str):
        torch.manual_seed(settings.seed)
        self.settings, self.device = settings, device
        # Any: diffusers' hints ask add_noise for an IntTensor.
        self.scheduler: Any = DDPMScheduler(1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
        self.unet = build_unet(settings.unet, settings.size)
        self.unet.to(device=device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self._network = torch.compile(self.unet) if settings.compile else self.unet
        self.ema = EMAModel(self.unet.parameters(), decay=settings.ema, use_ema_warmup=True, power=0.75)
        if settings.optimizer is Optimizer.muon:
            self.optimizers = muon_and_adamw(self.unet, settings.lr)
        else:
            self.optimizers = [adamw(self.unet.parameters(), settings.lr)]
        # On the CPU, so that a training may be continued on another device.
        self.generator = seeds.generator(settings.seed, "training")
        self.seen, self.seconds = 0, 0.0

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step. It rises linearly, stays constant, and falls linearly to 0."""
        s = self.settings
        warm = min(1.0, (self.seen + s.batch_size) / s.warmup_pictures)
        decay = min(1.0, max(0.0, (s.pictures - self.seen) / (s.decay_fraction * s.pictures)))
        return s.lr * warm * decay

    def step(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Learn from one batch.

        Args:
            pictures: uint8, shape (N, 3, size, size), on the CPU. The batch is drawn from them, with repeats.

        Returns:
            Timesteps, and the mean squared error of epsilon of each picture, both of shape (batch_size,) on the CPU.
        """
        x0, eps, index_t = self._draw(pictures)
        x_t = self.scheduler.add_noise(x0, eps, index_t).contiguous(memory_format=torch.channels_last)
        for optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] = self.learning_rate
        device, bf16 = self.unet.device, self.settings.precision is Precision.bf16
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            estimate = self._network(x_t.to(device), index_t.to(device)).sample
        errors = (estimate.float() - eps.to(device)).square().flatten(1).mean(1)
        (errors.log() if self.settings.loss is Loss.log_mse else errors).mean().backward()
        torch.nn.utils.clip_grad_norm_(self.unet.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.ema.step(self.unet.parameters())
        self.seen += self.settings.batch_size
        return index_t, errors.detach().cpu()

    @contextmanager
    def averaged(self) -> Iterator[UNet2DModel]:
        """Give the network its averaged weights inside the block, and yield the network."""
        self.ema.store(self.unet.parameters())
        self.ema.copy_to(self.unet.parameters())
        try:
            yield self.unet.eval()
        finally:
            self.ema.restore(self.unet.parameters())
            self.unet.train()

    def save(self, file: Path) -> None:
        """Write the state of the training, whole or not at all."""
        state = {
            "unet": self.unet.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "generator": self.generator.get_state(),
            "seen": self.seen,
            "seconds": self.seconds,
        }
        with replacing(file) as temporary:
            torch.save(state, temporary)

    def load(self, file: Path) -> None:
        """Restore a state that `save` wrote with the same settings."""
        state = torch.load(file, map_location="cpu")
        self.unet.load_state_dict(state["unet"])
        self.ema.load_state_dict(state["ema"])
        self.ema.to(self.device)
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.generator.set_state(state["generator"])
        self.seen, self.seconds = state["seen"], state["seconds"]

    def _draw(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return clean pictures in [-1, 1], half of them mirrored, their noise and their timesteps."""
        s, generator = self.settings, self.generator
        x0 = pictures[torch.randint(len(pictures), (s.batch_size,), generator=generator)].float() / 127.5 - 1
        mirrored = torch.rand(s.batch_size, 1, 1, 1, generator=generator) < 0.5
        x0 = torch.where(mirrored, x0.flip(-1), x0)
        index_t = draw_levels(
            stratified(s.batch_size, generator),
            self.scheduler.alphas_cumprod,
            s.lognormal_share,
            s.lognormal_mean,
            s.lognormal_std,
        )
        return x0, torch.randn(x0.shape, generator=generator), index_t
