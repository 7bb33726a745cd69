"""A network in training: its batches, its steps, and the checkpoint that it goes on from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from torch.nn.attention import SDPBackend, sdpa_kernel

from dipddpm.environment import has_bf16
from dipddpm.errors import UserError
from dipddpm.files import replacing
from scripts.data_parallel import agree, average_gradients, share
from scripts.group_norm import use_fast_backward
from scripts.grow import attend, deepen
from scripts.optimizer import MuonAdamW
from scripts.pass_scale import pass_scale
from scripts.train_prior_config import Optimizer, Precision, TrainPriorConfig, attention_levels, build_unet, own_config
from scripts.training_levels import draw_levels, stratified
from scripts.training_loss import training_loss


class Training:
    """Everything that changes while a prior is trained.

    Args:
        cfg: Checked configuration; ``init_from`` gives the first weights.
        device: ``cpu`` or ``cuda``.

    Attributes:
        seen: Pictures so far.
        seconds: Of these, by `Training.clock`.
    """

    def __init__(self, cfg: TrainPriorConfig, device: str):
        torch.manual_seed(cfg.seed)
        self.cfg, self.device = cfg, device
        self.scheduler: Any = DDPMScheduler(1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
        self.alphas_cumprod = self.scheduler.alphas_cumprod.to(device)
        self.unet: Any = _first_weights(cfg, self.scheduler).to(device=device, memory_format=torch.channels_last)
        self.unet.eval()  # nothing here has dropout, and diffusers' blocks change the memory layout while training
        if device == "cuda":
            torch.backends.cudnn.benchmark = True  # all batches have one shape
        elif not cfg.compile:  # a compiler writes its own
            use_fast_backward(self.unet)
        self._network = torch.compile(self.unet) if cfg.compile else self.unet
        self.ema = EMAModel(self.unet.parameters(), decay=cfg.ema, use_ema_warmup=True, power=0.75, foreach=True)
        self.optimizer = make_optimizer(cfg.optimizer, self.unet, cfg.lr)
        self.generator = torch.Generator(device).manual_seed(cfg.seed)
        self.seen, self.seconds = 0, 0.0
        self.bf16 = cfg.precision is Precision.bf16
        if cfg.precision is Precision.auto:
            self.bf16 = has_bf16(device) and (device != "cpu" or agree(_bf16_is_faster(self._probe)))

    def step(self, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Learn from one batch, or from this process's part of it.

        Args:
            faces: uint8, shape (N, 3, H, W), on the device: to draw from. A GPU that is given batches from the CPU
                waits for them.

        Returns:
            Timesteps and each picture's mean squared error of epsilon, both of shape (this process's part,).
        """
        x0, eps, index_t = (share(drawn) for drawn in self._draw(faces))
        ab = self.alphas_cumprod[index_t].view(-1, 1, 1, 1)
        x_t = (ab.sqrt() * x0 + (1 - ab).sqrt() * eps).contiguous(memory_format=torch.channels_last)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.cfg, self.seen)
        errors = self._backward(x_t, index_t, eps, self.bf16)
        average_gradients(self.unet.parameters())
        torch.nn.utils.clip_grad_norm_(self.unet.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.step(self.unet.parameters())
        self.seen += self.cfg.batch_size
        return index_t, errors

    @contextmanager
    def clock(self) -> Iterator[None]:
        """Add the seconds until the block is left, with all that it began on the device, to ``seconds``."""
        started = time.perf_counter()
        yield
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.seconds += time.perf_counter() - started

    def save(self, file: Path) -> None:
        """Write all that changes; whole or not at all."""
        state = {
            "unet": self.unet.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "device": self.device,
            "seen": self.seen,
            "seconds": self.seconds,
        }
        with replacing(file) as temporary:
            torch.save(state, temporary)

    def load(self, file: Path) -> None:
        """Go on from what `save` wrote.

        Raises:
            UserError: When ``init_from``, which may have changed since, holds another network.
        """
        state = torch.load(file, map_location="cpu")  # AdamW counts its steps there, also on a GPU
        try:
            self.unet.load_state_dict(state["unet"])
        except RuntimeError as error:  # of other weights or shapes
            line = f"init_from={self.cfg.init_from} is not the network of {file} any more: type another out=<folder>"
            raise UserError(line) from error
        self.ema.load_state_dict(state["ema"])
        self.ema.to(self.device)
        self.optimizer.load_state_dict(state["optimizer"])
        self.seen, self.seconds = state["seen"], state["seconds"]
        if state.get("device", self.device) == self.device:
            self.generator.set_state(state["generator"])
        else:  # a CPU's generator and a GPU's cannot go on from each other
            self.generator.manual_seed(self.cfg.seed + self.seen)

    def _draw(self, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return clean pictures in [-1, 1], half of them mirrored, their noise and their timesteps."""
        n, cfg = self.cfg.batch_size, self.cfg
        here: dict[str, Any] = {"generator": self.generator, "device": self.device}
        x0 = faces[torch.randint(len(faces), (n,), **here)].float() / 127.5 - 1
        x0 = torch.where(torch.rand(n, 1, 1, 1, **here) < 0.5, x0.flip(-1), x0)
        index_t = draw_levels(
            stratified(n, self.generator),
            self.alphas_cumprod,
            cfg.lognormal_share,
            cfg.lognormal_mean,
            cfg.lognormal_std,
            cfg.level_power,
        )
        return x0, torch.randn(x0.shape, **here), index_t

    def _backward(self, x_t: torch.Tensor, index_t: torch.Tensor, eps: torch.Tensor, bf16: bool) -> torch.Tensor:
        """Add the gradient of a batch; returns each picture's mean squared error, shape (N,)."""
        with torch.autocast(self.device, torch.bfloat16, enabled=bf16), self._attention():
            estimate = self._network(x_t, index_t).sample
        errors = (estimate.float() - eps).square().flatten(1).mean(1)
        training_loss(self.cfg.loss, errors, self.alphas_cumprod[index_t]).backward()
        return errors.detach()

    def _attention(self) -> AbstractContextManager:
        """On a CPU, plain matrix products: the fused kernel is slower where an attention is as small as here."""
        return sdpa_kernel(SDPBackend.MATH) if self.device == "cpu" else nullcontext()

    def _probe(self, bf16: bool) -> None:
        x = torch.ones(self.cfg.batch_size, 3, 64, 64, device=self.device).contiguous(memory_format=torch.channels_last)
        self._backward(x, torch.zeros(len(x), dtype=torch.long, device=self.device), 0 * x, bf16)
        self.optimizer.zero_grad()


def make_optimizer(name: Optimizer, unet: Any, lr: float) -> Any:
    """Return AdamW, or Muon for the kernels with AdamW for the rest."""
    if name is Optimizer.muon:
        return MuonAdamW(unet, lr)
    return torch.optim.AdamW(unet.parameters(), lr=lr, weight_decay=0.0)


def learning_rate(cfg: TrainPriorConfig, seen: int) -> float:
    """Return the rate after ``seen`` pictures: linear warm-up, constant, linear decay to 0."""
    warm = min(1.0, (seen + cfg.batch_size) / cfg.warmup_pictures)
    decay = min(1.0, max(0.0, (cfg.pictures - seen) / (cfg.decay_fraction * cfg.pictures)))
    return cfg.lr * warm * decay


def _first_weights(cfg: TrainPriorConfig, scheduler: DDPMScheduler) -> Any:
    unet = _read(cfg) if cfg.init_from else build_unet(cfg.unet)
    if cfg.scale_offset:
        pass_scale(unet, scheduler, cfg.scale_offset)
    return unet


def _read(cfg: TrainPriorConfig) -> Any:
    given = UNet2DModel.from_pretrained(
        cfg.init_from, subfolder="unet", torch_dtype=torch.float32, low_cpu_mem_usage=False
    )
    config: dict[str, Any] = own_config(given) | {"norm_num_groups": cfg.unet.norm_num_groups}
    unet = UNet2DModel(**config)
    unet.load_state_dict(given.state_dict())
    for _ in range(cfg.unet.layers_per_block - given.config["layers_per_block"]):
        unet = deepen(unet)
    for _ in range(cfg.unet.attention_levels - attention_levels(given.config)):
        unet = attend(unet)
    return unet


def _bf16_is_faster(step: Callable[[bool], Any]) -> bool:
    """Time two steps of each precision after one to warm up: some processors have bf16 and are slower in it."""
    seconds = []
    for bf16 in (False, True):
        step(bf16)
        started = time.perf_counter()
        for _ in range(2):
            step(bf16)
        seconds.append(time.perf_counter() - started)
    return seconds[1] < seconds[0]
