"""One fit of a DIP that records every picture that a fit could keep: each epoch's output, and averages.

Network, z, seeds and Adam are those of `dipddpm.dip.module.DeepImagePrior`. The kept picture of epoch e is one of

    none      the forward pass of the weights after epoch e
    outputs   the exponential moving average of the outputs of epochs 1 to e, its bias at the start corrected:
              m' = d m + (1 - d) output, picture = m / (1 - d^e). The outputs are those of the training steps.
    first     the same average, started from the output of epoch 1 instead
    weights   the forward pass of averaged weights, as ``torch.optim.swa_utils`` averages them: started after epoch 1

A `Recipe` may differ from the project in z: its scale, and its number of channels.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dipddpm import seeds
from dipddpm.degradation.problem import Problem
from dipddpm.dip import networks
from dipddpm.dip.curves import Curves
from dipddpm.dip.module import fixed_input
from dipddpm.dip.networks import draw
from dipddpm.dip.rows import DARK
from dipddpm.dip.settings import DipSettings
from dipddpm.dip.stopping import emv, loss_floor, wmv
from dipddpm.dip.variance import MovingVariance, WindowedVariance
from dipddpm.metrics.quality import mse

EVERY = 10  # epochs between two kept pictures, as dip.checkpoint_every
Watch = Callable[[torch.Tensor, torch.Tensor], bool]


@dataclass(frozen=True)
class Recipe:
    """The settings of a fit.

    Attributes:
        settings: Network, lr and input noise. The noise is in units of a z in [0, 1].
        z_scale: z is uniform in [0, z_scale], and its noise is scaled alike.
        z_channels: Channels of z. Above 3, the first convolutions are drawn again.
        decays: Decays of the averages.
        weights: Whether weights are averaged, too.
    """

    settings: DipSettings = field(default_factory=DipSettings)
    z_scale: float = 1.0
    z_channels: int = 3
    decays: Sequence[float] = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
    weights: bool = True


@dataclass(frozen=True)
class End:
    """The end of a fit.

    Attributes:
        epochs: The largest number of epochs.
        threshold: Threshold of ``loss_floor``, or None: the fit runs for all epochs.
        beyond: Epochs after the rule fired, as a share of the epochs before. They show the best picture of the fit.
        rules: Whether the fit also goes on until ``wmv`` and ``emv`` fire.
    """

    epochs: int
    threshold: float | None = None
    beyond: float = 0.25
    rules: bool = False


def record(problem: Problem, recipe: Recipe, end: End, seed: int = 0, watch: Watch | None = None) -> dict[str, Any]:
    """Fit one picture, and return its record: JSON types.

    ``psnr`` and ``loss`` have a value an epoch, of the output of the training step. ``none``, ``first`` and ``weights``
    have the PSNR of the kept pictures, one every `EVERY` epochs. ``outputs`` has the PSNR of the average after every
    epoch, and ``outputs_loss`` its loss to y, where the operator is the identity; NaN at the other epochs otherwise.
    Averages are lists by decay. Known values without noise are put back into kept pictures.

    Args:
        problem: One picture with its clean picture.
        recipe: The settings.
        end: The end of the fit.
        seed: The seed of z, weights and input noise.
        watch: A function of each epoch's output, shape (1, 3, H, W), and of the averages of outputs, shape (decays, 3,
            H, W). It returns whether the fit ends.
    """
    began = time.perf_counter()
    s, y, content = recipe.settings, problem.noisy, problem.content
    assert problem.clean is not None
    clean = problem.clean
    net = networks.build(s, seeds.generator(seed, "dip weights", content))
    if recipe.z_channels != 3:
        widen(net, recipe.z_channels, seeds.generator(seed, "wide weights", content))
    z = fixed_input(torch.Size((1, recipe.z_channels, *y.shape[2:])), seed, content) * recipe.z_scale
    last = networks.last_layer(net)
    if last is not None:
        networks.revive(net, last, z, seeds.generator(seed, "dip revival", content))
    fast = networks.memory_format(net)
    net.to(memory_format=fast)  # pyright: ignore[reportCallIssue]
    z, y = (one.contiguous(memory_format=fast) for one in (z, y))
    jitter = seeds.generator(seed, "dip input noise", content)
    adam = torch.optim.Adam(net.parameters(), lr=s.lr, fused=True)  # as the module's
    outputs, weights = Outputs(recipe.decays), Weights(net, recipe.decays) if recipe.weights else None
    windowed, moving, curves = WindowedVariance(), MovingVariance(), Curves()
    said: dict[str, Any] = {key: [] for key in ("psnr", "loss", "none")}
    said |= {key: {str(d): [] for d in recipe.decays} for key in ("outputs", "outputs_loss", "first", "weights")}
    until = end.epochs
    while len(curves) < until:
        epoch = len(curves) + 1
        noise = torch.randn(z.shape, generator=jitter) if s.input_noise else None
        output = net(z if noise is None else z + s.input_noise * recipe.z_scale * noise)
        loss = problem.operator.losses(output, problem.y).sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
        output = output.detach()
        if not output.square().sum().isfinite() or _died(output, y):
            said["failed"] = epoch
            break
        said["loss"].append(loss.item())
        said["psnr"] += _psnr(output, clean)
        curves.append(
            loss_noisy=loss.item(), loss_clean=math.nan, psnr=said["psnr"][-1], lr=s.lr, seconds=0,
            window_variance=float(windowed.update(output[:, None])) if end.rules else math.nan,
            moving_variance=float(moving.update(output[:, None])) if end.rules else math.nan,
        )  # fmt: skip
        average = outputs.update(output)
        if problem.operator.partial:  # measured every ten epochs: it takes time
            tenth = epoch % EVERY == 0
            _add(said["outputs"], _psnr(problem.put_back(average), clean) if tenth else [math.nan] * len(average))
        else:
            _add(said["outputs"], _psnr(average, clean))
            _add(said["outputs_loss"], mse(average, y).tolist())
        if weights:
            weights.update(net)
        if epoch % EVERY == 0:
            with torch.no_grad():
                said["none"] += _psnr(problem.put_back(net(z)), clean)
                _add(said["first"], _psnr(problem.put_back(outputs.from_first()), clean))
                if weights:
                    _add(said["weights"], _psnr(problem.put_back(weights.pictures(z)), clean))
        until = _until(until, curves, end)
        if watch and watch(output, average):
            break
    rules = {"wmv": wmv(curves), "emv": emv(curves)} if end.rules else {}
    if end.threshold is not None:
        rules["loss_floor"] = loss_floor(curves, threshold=end.threshold)
    said["rules"] = {name: [stop.epoch, stop.fired_at] for name, stop in rules.items() if stop}
    return said | {"epochs": len(curves), "seconds": time.perf_counter() - began}


def _until(until: int, curves: Curves, end: End) -> int:
    """Return the last epoch of the fit, as far as it is known."""
    epoch = len(curves)
    if end.rules:
        return _rules_fired(until, curves) if epoch % 50 == 0 else until
    if end.threshold is None or until < end.epochs or curves._rows[-1][0] > end.threshold:
        return until
    return min(end.epochs, max(EVERY, math.ceil(epoch * (1 + end.beyond))) + 1)


def _rules_fired(until: int, curves: Curves) -> int:
    return len(curves) if wmv(curves) and emv(curves) else until


def _died(output: torch.Tensor, y: torch.Tensor) -> bool:
    return any(y[:, c].mean() > DARK for c in networks.dead_channels(output))


def _psnr(pictures: torch.Tensor, clean: torch.Tensor) -> list[float]:
    return (-10 * mse(pictures.clamp(0, 1), clean).log10()).tolist()


def _add(lists: dict[str, list[float]], values: Sequence[float]) -> None:
    for into, value in zip(lists.values(), values, strict=True):
        into.append(value)


class Outputs:
    """Exponential moving averages of outputs, one for each decay."""

    def __init__(self, decays: Sequence[float]) -> None:
        self.decays = torch.tensor(decays).reshape(-1, 1, 1, 1)
        self.count, self.mean, self.first = 0, torch.zeros(()), torch.zeros(())

    def update(self, output: torch.Tensor) -> torch.Tensor:
        """Add an output, shape (1, 3, H, W); return the averages with corrected bias, shape (decays, 3, H, W)."""
        if self.count == 0:
            self.first = output.clone()
        self.mean = self.decays * self.mean + (1 - self.decays) * output
        self.count += 1
        return self.mean / (1 - self.decays**self.count)

    def from_first(self) -> torch.Tensor:
        """Return the averages that start from the first output, shape (decays, 3, H, W)."""
        return self.mean + self.decays**self.count * self.first


class Weights:
    """Exponential moving averages of the parameters of a network, one for each decay."""

    def __init__(self, net: nn.Module, decays: Sequence[float]) -> None:
        self.decays, self.nets = torch.tensor(decays)[:, None], [copy.deepcopy(net) for _ in decays]
        self.mean: torch.Tensor | None = None

    def update(self, net: nn.Module) -> None:
        """Add the weights of the network. The first weights are the first averages."""
        flat = torch.cat([p.detach().reshape(-1) for p in net.parameters()])
        if self.mean is not None:
            self.mean.lerp_(flat, 1 - self.decays)
            return
        self.mean = flat.repeat(len(self.nets), 1)
        for row, averaged in zip(self.mean, self.nets, strict=True):
            parameters = list(averaged.parameters())
            for p, part in zip(parameters, row.split([p.numel() for p in parameters]), strict=True):
                p.data = part.view_as(p)  # the network reads the average where it stands

    def pictures(self, z: torch.Tensor) -> torch.Tensor:
        """Return the forward pass of each average, shape (decays, 3, H, W)."""
        return torch.cat([net(z) for net in self.nets])


def widen(net: nn.Module, channels: int, generator: torch.Generator) -> None:
    """Give each convolution that reads z new weights, for a z of ``channels`` channels."""
    heads: list[Any] = [net.convs] if isinstance(net, networks.CNN) else [net.down[0], net.skip[0]]  # type: ignore[index]
    for head in heads:
        conv = head[0]
        conv.weight = nn.Parameter(torch.empty(conv.out_channels, channels, *conv.kernel_size))
        conv.in_channels = channels
        draw(conv, generator)


class Records:
    """The records of a bench: a file of JSON lines, one a fit. ``fit`` holds the fields that name it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        for line in lines:
            with suppress(ValueError):  # a kill may leave half of a line
                yield json.loads(line)

    def names(self) -> set[str]:
        """Return the names of all recorded fits, as JSON."""
        return {json.dumps(one["fit"]) for one in self}

    def append(self, fit: dict[str, Any], said: dict[str, Any]) -> None:
        """Write a record on a line of its own."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps({"fit": fit} | rounded(said)) + "\n")


def rounded(value: Any) -> Any:
    """Return JSON types with numbers of 6 digits: a record of a fit has tens of thousands."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
