"""The Deep Image Prior as a LightningModule: networks, fixed random inputs z, and noisy pictures y.

Reference: Ulyanov, Vedaldi and Lempitsky, Deep Image Prior, CVPR 2018, https://arxiv.org/abs/1711.10925.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch

from dipddpm import gpu, seeds
from dipddpm.degradation.operators import Identity, Operator
from dipddpm.degradation.problem import content_hashes
from dipddpm.dip import networks
from dipddpm.dip.average import Average
from dipddpm.dip.block import Block
from dipddpm.dip.holdout import held_out, shares
from dipddpm.dip.kept import Kept
from dipddpm.dip.settings import DipSettings
from dipddpm.dip.variance import MovingVariance, WindowedVariance
from dipddpm.errors import FitFailed
from dipddpm.metrics import quality as metrics

log = logging.getLogger(__name__)
# The settings that a state records. Settings such as max_epochs do not change the numbers, and are not recorded.
RECORDED = ("layers", "channels", "kernel_size", "final_relu", "loss", "lr", "input_noise", "ema", "precision")


def fixed_input(shape: Sequence[int], seed: int, content: str) -> torch.Tensor:
    """Return z: uniform in [0, 1], of the given shape (1, 3, H, W)."""
    return torch.rand(tuple(shape), generator=seeds.generator(seed, "dip input", content))


class DeepImagePrior(pl.LightningModule):
    """Fit the output of a network for a fixed z to a noisy picture y, by mean squared or absolute error with Adam.

    A Lightning batch is a **block** of epochs: the epochs up to the next kept one. A Lightning epoch has one block. The
    optimiser steps of a block run without Lightning between them (manual optimisation). At the end of a block `rows`
    holds a row of the curves for each of its epochs. While `watched` is true, the known values of the last row are
    logged: callbacks such as EarlyStopping find them by the names in `dipddpm.dip.curves.COLUMNS`. Logging takes a
    twentieth of a small fit's time.

    N pictures of one size are fitted at once, each by a network of its own. Their networks are stacked. Logged values
    are means over the pictures then.

    Hyperparameters are builtins, so that checkpoints load without pickle. z, y and the clean picture are buffers: all
    optimiser steps use the same data, and a data loader would only take time.

    Args:
        noisy: Completed y, shape (N, 3, H, W), in [0, 1] units; values may lie outside.
        clean: The clean pictures, same shape, or None. The fit is measured against them and does not learn from them.
        y: y itself, shape (N, 3, h, w); None: A of ``noisy``.
        operator: A of y = A x + noise. The loss is over the values of y (the paper's eq. 4 and 5). None: identity.
        network: Your own module, which maps z to a picture, both of shape (1, 3, H, W). It is trained in place, and N
            is 1. None builds the network that the settings name, with initial weights from the seed.
        settings: Settings of the network and of Adam; None: those of the plain network.
        seed: Seed of z, of the weights and of the input noise.
        contents: Content hash of each picture, which enters its seeds; None: the hashes of ``noisy``.

    Raises:
        ValueError: When ``noisy`` has another shape, for settings that the network does not have, or for a network
            without parameters in float32.
    """

    z: torch.Tensor
    noisy: torch.Tensor
    y: torch.Tensor
    clean: torch.Tensor | None
    seen: torch.Tensor | None  # weights of y's values in the loss, sum 1 a picture; None: Operator.losses is the loss
    held: torch.Tensor | None  # weights of the held-out values, sum 1 a picture; None: there are none

    def __init__(
        self,
        noisy: torch.Tensor,
        clean: torch.Tensor | None = None,
        *,
        y: torch.Tensor | None = None,
        operator: Operator | None = None,
        network: torch.nn.Module | None = None,
        settings: DipSettings | None = None,
        seed: int = 0,
        contents: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if noisy.ndim != 4 or noisy.shape[1] != 3:
            raise ValueError(f"noisy must be pictures, shape (N, 3, H, W), got {tuple(noisy.shape)}")
        self.automatic_optimization = False
        self.settings = s = settings or DipSettings()
        self.seed, self.contents = seed, tuple(content_hashes(noisy) if contents is None else contents)
        z = [fixed_input((1, *noisy.shape[1:]), seed, content) for content in self.contents]
        nets = [
            network or networks.build(s, seeds.generator(seed, "dip weights", content)) for content in self.contents
        ]
        networks.check(nets[0])
        name = s.network if network is None else type(network).__name__
        recorded = {"network": name, **{k: getattr(s, k) for k in RECORDED}, "holdout": s.holdout or 0.0, "seed": seed}
        self.save_hyperparameters({**recorded, "content": self.contents[0]})
        self.revived = [self._revive(*each) for each in zip(nets, z, self.contents, strict=True)]
        self.net = nets[0] if len(nets) == 1 else networks.Stacked(nets)
        fast = networks.memory_format(self.net)
        self.net.to(memory_format=fast)  # pyright: ignore[reportCallIssue]
        self.register_buffer("z", torch.cat(z).contiguous(memory_format=fast), persistent=False)
        self.register_buffer("noisy", noisy.contiguous(memory_format=fast), persistent=False)
        self.register_buffer("clean", clean, persistent=False)
        self.operator = Identity() if operator is None else operator
        y = self.operator.measure(noisy) if y is None else y
        self.register_buffer("y", y.contiguous(memory_format=fast), persistent=False)
        known, held = self.operator.known_in(self.y), None
        if s.holdout:
            each = zip(known.split(1), self.contents, strict=True)
            held = torch.cat([held_out(one, s.holdout, seed, content) for one, content in each])
            known = known & ~held
        self.register_buffer("held", None if held is None else shares(held), persistent=False)
        plain = s.loss == "mse" and held is None
        self.register_buffer("seen", None if plain else shares(known), persistent=False)
        self.input_generators = [seeds.generator(seed, "dip input noise", content) for content in self.contents]
        self.windowed, self.moving = WindowedVariance(), MovingVariance()
        self.average = Average(s.ema)
        self.epochs = 0  # epochs that the fit has had
        self.last_epoch = s.max_epochs
        self.clipping: tuple[float | None, str | None] = (None, None)  # Lightning's gradient_clip_val and its algorithm
        self.rows: list[list[dict[str, float]]] = []  # for each picture the rows of the newest block
        self.newest: Kept | None = None  # what is kept of its end, on the CPU
        self.watched = True
        self.errors: dict[int, FitFailed] = {}  # of the pictures of a stack whose fits have failed
        self.saved = 0  # the picture whose state the next checkpoint has
        self.states: Sequence[dict[str, Any]] = ()  # the checkpoints of all pictures, when a stack is continued
        self._block: Block | None = None
        self._ended = 0.0  # the time at which the newest block ended

    def _revive(self, net: torch.nn.Module, z: torch.Tensor, content: str) -> int:
        """Redraw the last layer until no output channel is dead; return the number of redraws.

        A network without a layer to redraw is left as it is, and gives 0.
        """
        last = networks.last_layer(net)
        generator = seeds.generator(self.seed, "dip revival", content)
        times = networks.revive(net, last, z, generator) if last is not None else 0
        if times:
            log.info("an output channel was dead at the start: the last layer was redrawn (attempts: %d)", times)
        return times

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Map z to pictures, both of shape (N, 3, H, W), in the fit's precision; the result is float32."""
        with torch.autocast(z.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
            pictures = self.net(z).float()
        torch.clear_autocast_cache()  # inside a caller's autocast it would keep the weights of the first step
        return pictures

    def state_bytes(self) -> int:
        """Return about the bytes of the stored state: weights, Adam's two averages, and the ring buffer of outputs."""
        weights = sum(p.numel() for p in self.net.parameters())
        return 4 * (3 * weights + self.windowed.window * self.noisy.numel())

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the weights of the networks by name, each of shape (N, ...)."""
        if isinstance(self.net, networks.Stacked):
            return self.net.weights()
        return {name: tensor[None] for name, tensor in self.net.state_dict().items()}

    def kept(self) -> Kept:
        """Return the kept pictures, the weights of their networks, and the pictures' errors."""
        pictures, clean = self.render(), self.clean
        errors = None if clean is None else metrics.mse(pictures.clamp(0, 1), clean)
        return Kept(pictures, self.weights(), errors)

    @torch.no_grad()
    def render(self) -> torch.Tensor:
        """Return the kept pictures: float32, shape (N, 3, H, W), not clipped.

        With ``ema`` they are the averaged outputs of the epochs so far, otherwise the outputs of the present weights.
        """
        return self.average.value() if self.average.decay else self(self.z)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # Fused: one kernel updates all weights. A skip network has 70 tensors.
        parameters = [p for p in self.net.parameters() if p.requires_grad]
        return torch.optim.Adam(parameters, lr=self.settings.lr, fused=True, capturable=self.z.is_cuda)

    def clip(self) -> None:
        """Clip the gradients, where the Trainer was given an option for it."""
        value, algorithm = self.clipping
        if value:
            self.clip_gradients(self.optimizers(), value, algorithm)  # pyright: ignore[reportArgumentType]

    def block_end(self, epochs: int) -> int:
        """Return the last epoch of the block after ``epochs``: the next kept epoch, or the end of the fit."""
        every = self.settings.checkpoint_every
        return min(self.last_epoch, (epochs // every + 1) * every)

    def settle(self) -> None:
        """Undo epochs that were begun ahead. Networks, optimiser and averages are those of the newest row then."""
        if self._block:
            self._block.settle()

    def teardown(self, stage: str) -> None:
        """Free the memory that only a running fit needs. Trainer and module hold each other, and so live on."""
        if self._block:
            self._block.end()
        self._block, self.windowed, self.moving = None, WindowedVariance(), MovingVariance()

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Run a block of epochs, and read its rows. A GPU begins the next block before they are read."""
        if self._block is None:
            optimizer = self.optimizers(use_pl_optimizer=False)
            assert isinstance(optimizer, torch.optim.Optimizer)
            self._block = Block(self, optimizer)
        end = self.block_end(self.epochs)
        epochs, began = end - self.epochs, self._ended if self._block.begun else time.perf_counter()
        measured, self.newest = self._block.run(epochs, self._ahead(end))
        self._ended = time.perf_counter()
        seconds = (self._ended - began) / (epochs * self.settings.steps_per_epoch)
        self.rows = [self._rows(i, rows, seconds) for i, rows in enumerate(measured)]
        self.epochs += epochs
        # Lightning counts the steps of its own optimisers only: max_steps and the step of a checkpoint need the number.
        steps = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        for count in (steps.total, steps.current):
            count.ready += epochs * self.settings.steps_per_epoch
            count.completed += epochs * self.settings.steps_per_epoch
        if self.watched:
            self._log_newest()

    def _ahead(self, end: int) -> int:
        """Return the epochs of the block after ``end`` that are begun before the rows up to there are read."""
        return self.block_end(end) - end if gpu.can_capture(self.z) and not self.watched else 0

    def newest_row(self) -> dict[str, float]:
        """Return the newest row of the curves, a mean over the fits that have not failed; empty where all have."""
        newest = [rows[-1] for rows in self.rows if rows]
        return {name: sum(row[name] for row in newest) / len(newest) for name in newest[0]} if newest else {}

    def _log_newest(self) -> None:
        if known := {name: value for name, value in self.newest_row().items() if not math.isnan(value)}:
            self.log_dict({**known, "step": float(self.epochs)})  # Lightning's loggers take "step" as the step

    def _rows(self, i: int, measured: Sequence[dict[str, float]], seconds: float) -> list[dict[str, float]]:
        """Return the rows of the curves of picture ``i``; none once its fit has failed and others go on."""
        try:
            return [self._row(row, epoch, seconds) for epoch, row in enumerate(measured, self.epochs + 1)]
        except FitFailed as error:
            if len(self.noisy) == 1:
                raise
            self.errors.setdefault(i, error)
            return []

    def _row(self, measured: dict[str, float], epoch: int, seconds: float) -> dict[str, float]:
        """Return a row of the curves; refuse an output that is not finite, or that died."""
        if not math.isfinite(measured["energy"]):
            if epoch == 1:  # the learning rate has had no effect yet
                noise = self.settings.input_noise
                way_out = f"try a dip.input_noise below {noise:g}" if noise else "its initial weights are at fault"
                raise FitFailed(f"the network's output is not finite before the first step: {way_out}")
            raise FitFailed(
                f"the fit diverged at epoch {epoch}, its output is no longer finite, at learning rate "
                f"{self.settings.lr:g}: try a smaller dip.lr"
            )
        if dead := [name for name in ("red", "green", "blue") if measured[name]]:
            raise FitFailed(
                f"the output's {', '.join(dead)} died at epoch {epoch} (zero everywhere, no gradient left) at learning "
                f"rate {self.settings.lr:g}: try a smaller dip.lr, another seed, or dip.final_relu=false"
            )
        known = self.clean is not None
        return {
            "loss_noisy": measured["loss_noisy"],
            "loss_clean": measured["loss_clean"] if known else math.nan,
            "psnr": metrics.psnr_of(measured["clipped"]) if known else math.nan,
            "lr": self.settings.lr,
            "seconds": seconds,
            "window_variance": measured["window_variance"],
            "moving_variance": measured["moving_variance"],
            "holdout": measured.get("holdout", math.nan),
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the state of one picture, `saved`, in the checkpoint: it can be continued alone."""
        i, stacked = self.saved, isinstance(self.net, networks.Stacked)
        checkpoint["dip"] = {
            "epochs": self.epochs,
            "input_generator": self.input_generators[i].get_state(),
            **{name: getattr(self, name).state_dict(i) for name in ("windowed", "moving", "average")},
        }
        if stacked:
            checkpoint["state_dict"] = {f"net.{name}": tensor[i].clone() for name, tensor in self.weights().items()}
            checkpoint["optimizer_states"] = [networks.of_one(checkpoint["optimizer_states"][0], i)]
            checkpoint["hyper_parameters"] = {**checkpoint["hyper_parameters"], "content": self.contents[i]}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        states = self.states or [checkpoint]
        self.epochs = states[0]["dip"]["epochs"]
        for generator, state in zip(self.input_generators, states, strict=True):
            generator.set_state(state["dip"]["input_generator"].cpu())
        for name in ("windowed", "moving", "average"):
            getattr(self, name).load_state_dicts([state["dip"][name] for state in states])
        if isinstance(self.net, networks.Stacked):
            weights = [{k.removeprefix("net."): v for k, v in state["state_dict"].items()} for state in states]
            checkpoint["state_dict"] = {f"net.{name}": tensor for name, tensor in self.net.joined(weights).items()}
            checkpoint["optimizer_states"] = [networks.of_all([state["optimizer_states"][0] for state in states])]
