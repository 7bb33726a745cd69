"""The Deep Image Prior as a LightningModule: a network, a fixed random input z, and one noisy picture y.

Reference: Ulyanov, Vedaldi and Lempitsky, Deep Image Prior, CVPR 2018, https://arxiv.org/abs/1711.10925.
"""

from __future__ import annotations

import logging
import math
import time
from typing import Any

import pytorch_lightning as pl
import torch
from torch.nn.functional import mse_loss
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dipddpm import seeds
from dipddpm.degradation.operators import Identity, Operator
from dipddpm.degradation.problem import content_hashes
from dipddpm.dip import networks
from dipddpm.dip.settings import DipSettings
from dipddpm.dip.variance import MovingVariance, WindowedVariance
from dipddpm.metrics import quality as metrics

log = logging.getLogger(__name__)
# The settings that a state records. Settings such as max_epochs do not change the numbers, and are not recorded.
RECORDED = ("layers", "channels", "kernel_size", "final_relu", "lr", "input_noise", "ema", "precision")
DARK = 0.5 / 255  # a channel of y up to this mean is black, and an output of zero is right for it


def fixed_input(shape: torch.Size, seed: int, content: str) -> torch.Tensor:
    """Return z: uniform in [0, 1], of the given shape (1, 3, H, W)."""
    return torch.rand(shape, generator=seeds.generator(seed, "dip input", content))


class DeepImagePrior(pl.LightningModule):
    """Fit a network's output for a fixed z to a noisy picture y, by mean squared error with Adam.

    At the end of each epoch `row` holds the epoch's row of the curves. While `watched` is true, the known values of the
    row are logged, too: callbacks such as EarlyStopping and ModelCheckpoint find them by the names in
    `dipddpm.dip.curves.COLUMNS`. Logging takes a fifth of a small fit's time: a fit that nobody watches logs nothing.

    Hyperparameters are builtins, so that checkpoints load without pickle. z, y and the clean picture are buffers: all
    ``steps_per_epoch`` steps of an epoch use the same data, and a data loader would only take time.

    Args:
        noisy: Completed y, shape (1, 3, H, W), in [0, 1] units; values may lie outside.
        clean: The clean picture, same shape, or None. The fit is measured against it and does not learn from it.
        operator: A of y = A x + noise. The loss is over the measured part (the paper's eq. 4 and 5). None: identity.
        network: Your own module, which maps z to a picture, both of shape (1, 3, H, W). It is trained in place. None
            builds the network that the settings name, with initial weights from the seed.
        settings: Settings of the network and of Adam; None: those of the plain network.
        seed: Seed of z, of the weights and of the input noise.
        content: Content hash of the picture, which enters every seed; None: the hash of ``noisy``.

    Raises:
        ValueError: When ``noisy`` is not one picture, for settings that the network does not have, or for a network
            without parameters in float32.
    """

    z: torch.Tensor
    noisy: torch.Tensor
    clean: torch.Tensor | None

    def __init__(
        self,
        noisy: torch.Tensor,
        clean: torch.Tensor | None = None,
        *,
        operator: Operator | None = None,
        network: torch.nn.Module | None = None,
        settings: DipSettings | None = None,
        seed: int = 0,
        content: str | None = None,
    ) -> None:
        super().__init__()
        if noisy.ndim != 4 or noisy.shape[:2] != (1, 3):
            raise ValueError(f"noisy must be one picture, shape (1, 3, H, W), got {tuple(noisy.shape)}")
        s = settings or DipSettings()
        content = content_hashes(noisy)[0] if content is None else content
        self.settings, self.content = s, content
        self.net = network or networks.build(s, seeds.generator(seed, "dip weights", content))
        networks.check(self.net)
        name = s.network if network is None else type(network).__name__
        self.save_hyperparameters(
            {"network": name, **{k: getattr(s, k) for k in RECORDED}, "seed": seed, "content": content}
        )
        z = fixed_input(noisy.shape, seed, content)
        self.revived = self._revive(z, seeds.generator(seed, "dip revival", content))
        fast = networks.memory_format(self.net)
        self.net.to(memory_format=fast)  # pyright: ignore[reportCallIssue]
        self.averaged = AveragedModel(self.net, multi_avg_fn=get_ema_multi_avg_fn(s.ema)) if s.ema else None
        self.register_buffer("z", z.contiguous(memory_format=fast), persistent=False)
        self.register_buffer("noisy", noisy.contiguous(memory_format=fast), persistent=False)
        self.register_buffer("clean", clean, persistent=False)
        self.operator = Identity() if operator is None else operator
        self.input_generator = seeds.generator(seed, "dip input noise", content)
        self.windowed, self.moving = WindowedVariance(), MovingVariance()
        self.row: dict[str, float] = {}
        self.watched = True
        self._started = 0.0
        self._seconds = 0.0

    def _revive(self, z: torch.Tensor, generator: torch.Generator) -> int:
        """Redraw the last layer until no output channel is dead; return the number of redraws.

        A network without a layer to redraw is left as it is, and gives 0.
        """
        last = networks.last_layer(self.net)
        times = networks.revive(self.net, last, z, generator) if last is not None else 0
        if times:
            log.info("an output channel was dead at the start: the last layer was redrawn (attempts: %d)", times)
        return times

    @property
    def kept_net(self) -> torch.nn.Module:
        """The network whose weights are kept: with ``ema`` the averaged one."""
        return self.averaged.module if self.averaged is not None else self.net

    def forward(self, z: torch.Tensor, net: torch.nn.Module | None = None) -> torch.Tensor:
        """Map z to a picture, both of shape (1, 3, H, W), in the fit's precision; the result is float32."""
        with torch.autocast(z.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
            return (net or self.net)(z).float()

    @torch.no_grad()
    def render(self) -> torch.Tensor:
        """Return the picture of the kept weights: float32, shape (1, 3, H, W), not clipped.

        Raises:
            RuntimeError: When the weights have diverged.
        """
        picture = self(self.z, self.kept_net)
        self._refuse_divergence(picture)
        return picture

    def _refuse_divergence(self, output: torch.Tensor) -> None:
        if not output.square().sum().isfinite():
            raise RuntimeError(
                f"the fit diverged at epoch {self.current_epoch + 1}, its output is no longer finite, "
                f"at learning rate {self.settings.lr:g}: try a smaller dip.lr"
            )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.net.parameters(), lr=self.settings.lr)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Return the loss to the noisy picture. The first step of an epoch fills the epoch's row."""
        z = self.z
        if self.settings.input_noise:
            noise = torch.randn(z.shape, generator=self.input_generator)
            z = z + self.settings.input_noise * noise.to(z.device)
        output = self(z)
        if output.shape != self.noisy.shape:
            given, wanted = tuple(output.shape), tuple(self.noisy.shape)
            raise ValueError(f"network {type(self.net).__name__} gives the shape {given}: must be that of z, {wanted}")
        loss = self.operator.loss(output - self.noisy)  # over the values of y
        if batch_idx == 0:
            self._measure(output.detach(), loss.item())
        return loss

    def _measure(self, output: torch.Tensor, loss: float) -> None:
        self._refuse_divergence(output)
        if dead := [c for c in networks.dead_channels(output) if self.noisy[:, c].mean() > DARK]:
            names = ", ".join("red green blue".split()[c] for c in dead)
            raise RuntimeError(
                f"the output's {names} died at epoch {self.current_epoch + 1} (zero everywhere, no gradient "
                f"left) at learning rate {self.settings.lr:g}: try a smaller dip.lr, another seed, or "
                "dip.final_relu=false"
            )
        self.row = {
            "loss_noisy": loss,
            "loss_clean": float("nan"),
            "psnr": float("nan"),
            "lr": self.settings.lr,
            "window_variance": self.windowed.update(output),
            "moving_variance": self.moving.update(output),
        }
        if self.clean is not None:
            self.row["loss_clean"] = mse_loss(output, self.clean).item()
            self.row["psnr"] = metrics.psnr(output, self.clean).item()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self._seconds = 0.0
        self._started = time.perf_counter()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.averaged is not None:
            self.averaged.update_parameters(self.net)
        self._seconds += time.perf_counter() - self._started
        self.row["seconds"] = self._seconds / (batch_idx + 1)

    def on_train_epoch_end(self) -> None:
        if self.watched:  # with the key "step" Lightning's loggers take the epoch as the step
            known = {name: value for name, value in self.row.items() if not math.isnan(value)}
            self.log_dict({**known, "step": self.current_epoch + 1.0})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["dip"] = {
            "input_generator": self.input_generator.get_state(),
            "windowed": self.windowed.state_dict(),
            "moving": self.moving.state_dict(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["dip"]
        self.input_generator.set_state(state["input_generator"].cpu())
        self.windowed.load_state_dict(state["windowed"])
        self.moving.load_state_dict(state["moving"])
