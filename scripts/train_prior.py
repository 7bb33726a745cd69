"""Train the 64x64 face prior that the package ships.

    python scripts/train_prior.py data=../shared/data pictures=150000

Epsilon prediction, linear schedule 1e-4 to 0.02, T = 1000 (Ho et al., https://arxiv.org/abs/2006.11239),
so that the prior behaves like google/ddpm-celebahq-256. Run again, it goes on from its last checkpoint;
with a larger ``pictures`` it goes on further. The averaged weights are written as a diffusers folder at
each checkpoint.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from omegaconf import OmegaConf

sys.path.insert(0, str(Path(__file__).parents[1]))  # the repository, for `scripts` run as files
from scripts.train_prior_config import Loss, Optimizer, Precision, TrainPriorConfig, build_unet, own_config


def make_optimizer(name: Optimizer, unet: Any, lr: float) -> Any:
    """Return AdamW, or Muon for the kernels with AdamW for the rest."""
    import torch

    from scripts.optimizer import MuonAdamW

    if name is Optimizer.muon:
        return MuonAdamW(unet, lr)
    return torch.optim.AdamW(unet.parameters(), lr=lr, weight_decay=0.0)


def learning_rate(cfg: TrainPriorConfig, seen: int) -> float:
    """Return the rate after ``seen`` pictures: linear warm-up, constant, linear decay to 0."""
    warm = min(1.0, (seen + cfg.batch_size) / cfg.warmup_pictures)
    decay = min(1.0, max(0.0, (cfg.pictures - seen) / (cfg.decay_fraction * cfg.pictures)))
    return cfg.lr * warm * decay


def bf16_is_faster(step: Callable[[bool], Any]) -> bool:
    """Time two steps of each precision after one to warm up: some processors have bf16 and are slower in it."""
    seconds = []
    for bf16 in (False, True):
        step(bf16)
        started = time.perf_counter()
        for _ in range(2):
            step(bf16)
        seconds.append(time.perf_counter() - started)
    return seconds[1] < seconds[0]


def train(cfg: TrainPriorConfig) -> None:
    """Train until ``cfg.pictures`` have been seen; resume when ``cfg.out`` holds a checkpoint."""
    import torch
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
    from diffusers.training_utils import EMAModel
    from rich.progress import Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from torch.utils.tensorboard import SummaryWriter

    from dipddpm.environment import has_bf16
    from scripts.data_parallel import average_gradients, rank, share
    from scripts.faces import read_faces
    from scripts.group_norm import use_fast_backward
    from scripts.one_evaluation import errors_by_level

    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    out = Path(cfg.out)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(cfg.seed)
    scheduler = DDPMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    if cfg.init_from:
        given = UNet2DModel.from_pretrained(cfg.init_from, subfolder="unet", torch_dtype=torch.float32)
        unet = UNet2DModel(**own_config(given))
        unet.load_state_dict(given.state_dict())
    else:
        unet = build_unet(cfg.unet)
    torch.nn.Module.to(unet, device=device, memory_format=torch.channels_last)  # pyright: ignore
    if device == "cpu":
        use_fast_backward(unet)
    ema = EMAModel(unet.parameters(), decay=cfg.ema, use_ema_warmup=True, power=0.75)
    optimizer = make_optimizer(cfg.optimizer, unet, cfg.lr)
    generator = torch.Generator().manual_seed(cfg.seed)
    seen, seconds = 0, 0.0

    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device)
        unet.load_state_dict(state["unet"])
        ema.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"].cpu())
        seen, seconds = state["seen"], state["seconds"]
        print(f"going on from {checkpoint}: {seen} pictures seen")

    faces = read_faces(Path(cfg.data) / "faces64-train.tar")
    held_out = read_faces(Path(cfg.data) / "faces64-val.tar", cfg.eval_pictures)
    writer = SummaryWriter(str(out)) if rank() == 0 else None
    alphas_cumprod = scheduler.alphas_cumprod.to(device)
    T = len(alphas_cumprod)

    def save() -> None:
        if writer is None:
            return
        state = {
            "unet": unet.state_dict(),
            "ema": ema.state_dict(),
            "optimizer": optimizer.state_dict(),
            "generator": generator.get_state(),
            "seen": seen,
            "seconds": seconds,
        }
        torch.save(state, checkpoint.with_suffix(".tmp"))
        os.replace(checkpoint.with_suffix(".tmp"), checkpoint)
        ema.store(unet.parameters())
        ema.copy_to(unet.parameters())
        unet.eval()
        pipeline = DDPMPipeline(unet=unet, scheduler=scheduler)
        pipeline.save_pretrained(out)
        rows = errors_by_level(unet, scheduler.alphas_cumprod, held_out)
        for level, mse, psnr in rows:
            writer.add_scalar(f"held_out_epsilon_error/level_{level}", mse, seen)
            writer.add_scalar(f"held_out_psnr/level_{level}", psnr, seen)
        print(
            f"{seen} pictures, {seconds:.0f} s:",
            " ".join(f"{t}:{psnr:.2f}" for t, _, psnr in rows),
            flush=True,
        )
        pipeline.set_progress_bar_config(disable=True)
        noise = torch.Generator().manual_seed(0)
        grid = ddim_samples(pipeline, 16, noise)
        writer.add_images("samples_ddim_25", grid, seen)
        writer.flush()
        unet.train()
        ema.restore(unet.parameters())

    def backward(x_t: torch.Tensor, index_t: torch.Tensor, eps: torch.Tensor, bf16: bool) -> torch.Tensor:
        """Add the gradient of a batch; returns each picture's mean squared error, shape (N,)."""
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            estimate = unet(x_t, index_t).sample
        loss = (estimate.float() - eps).square().flatten(1).mean(1)
        (loss.log() if cfg.loss is Loss.log_mse else loss).mean().backward()
        return loss.detach()

    def probe(bf16: bool) -> None:
        noise = torch.ones(cfg.batch_size, 3, 64, 64, device=device).contiguous(memory_format=torch.channels_last)
        backward(noise, torch.zeros(cfg.batch_size, dtype=torch.long, device=device), 0 * noise, bf16)
        optimizer.zero_grad()

    bf16 = cfg.precision is Precision.bf16
    if cfg.precision is Precision.auto:
        bf16 = device == "cuda" or (has_bf16(device) and bf16_is_faster(probe))
    print(f"{sum(p.numel() for p in unet.parameters()):,} parameters, on {device} in {'bf16' if bf16 else 'fp32'}")

    columns = (TextColumn("{task.description}"), *Progress.get_default_columns()[1:3])
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), disable=writer is None) as progress:
        bar = progress.add_task("training", total=cfg.pictures, completed=seen)
        last_save = started = time.monotonic()
        before = seconds
        while seen < cfg.pictures:
            index = torch.randint(len(faces), (cfg.batch_size,), generator=generator)
            flip = torch.rand(cfg.batch_size, 1, 1, 1, generator=generator) < 0.5
            x0 = faces[index].float() / 127.5 - 1
            x0 = torch.where(flip, x0.flip(-1), x0)
            u = torch.rand(cfg.batch_size, generator=generator)
            index_t = (T * u**cfg.level_power).long().clamp(0, T - 1)
            eps = torch.randn(x0.shape, generator=generator)
            x0, eps, index_t = (share(drawn).to(device) for drawn in (x0, eps, index_t))
            ab = alphas_cumprod[index_t].view(-1, 1, 1, 1)
            x_t = (ab.sqrt() * x0 + (1 - ab).sqrt() * eps).contiguous(memory_format=torch.channels_last)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(cfg, seen)
            loss = backward(x_t, index_t, eps, bf16)
            average_gradients(unet.parameters())
            torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            ema.step(unet.parameters())
            seen += cfg.batch_size
            seconds = before + time.monotonic() - started
            progress.update(bar, completed=seen)
            if writer is not None and seen % (100 * cfg.batch_size) == 0:
                writer.add_scalar("train/loss", loss.mean().item(), seen)
                writer.add_scalar("train/lr", optimizer.param_groups[0]["lr"], seen)
                for band in range(10):
                    members = loss[index_t // (T // 10) == band]
                    if len(members):
                        writer.add_scalar(f"train_loss_by_level/{band * T // 10:03d}", members.mean().item(), seen)
            if time.monotonic() - last_save > 60 * cfg.checkpoint_minutes:
                save()
                last_save = time.monotonic()
        save()
    if writer is not None:
        writer.close()


def ddim_samples(pipeline: Any, count: int, generator: Any, steps: int = 25) -> Any:
    """Return unconditional samples by DDIM from noise: float, shape (count, 3, H, W), in [0, 1]."""
    import torch
    from diffusers import DDIMScheduler

    unet = pipeline.unet
    scheduler: Any = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=True)
    scheduler.set_timesteps(steps)
    x = torch.randn(count, 3, unet.config.sample_size, unet.config.sample_size, generator=generator)
    x = x.to(unet.device)
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(unet(x, t).sample.float(), t, x).prev_sample
    return ((x + 1) / 2).clamp(0, 1).cpu()


@hydra.main(version_base="1.3", config_path="../conf", config_name="train_prior")
def main(cfg: Any) -> None:
    schema = OmegaConf.structured(TrainPriorConfig)
    typed: Any = OmegaConf.to_object(OmegaConf.merge(schema, OmegaConf.to_container(cfg)))
    from scripts.data_parallel import spawn

    spawn(typed.processes, train, typed)


if __name__ == "__main__":
    main()
