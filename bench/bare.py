"""The bare loop: the fit that a PyTorch user writes, with the network and z of a fit of this project, and with Adam.

The loop has no curves, no kept epochs and no rule. On a GPU its step is one CUDA graph: no kernel waits for Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import mse_loss

from bench.machine import clocked, synchronise
from dipddpm.degradation.problem import Problem
from dipddpm.dip.module import DeepImagePrior
from dipddpm.dip.settings import DipSettings
from dipddpm.metrics.quality import psnr

LAST = 10  # steps at the end whose PSNR is taken, outside the measured time


@dataclass(frozen=True)
class Step:
    """One optimiser step of the bare loop.

    Attributes:
        run: Runs the step. A graph reads the memory of the tensors that ``step`` holds.
        output: The output of the newest step, before its update.
        step: The step as a function.
    """

    run: Callable[[], None]
    output: torch.Tensor
    step: Callable[[], None]


def seconds_a_step(
    settings: DipSettings, problem: Problem, steps: int, *, device: str, precision: str, deterministic: bool = False
) -> tuple[float, float]:
    """Run the bare loop, and return the seconds of a step and the best PSNR in dB of the last `LAST` outputs.

    Args:
        settings: The network and Adam's learning rate.
        problem: One picture.
        steps: Steps of the whole loop, above `LAST`.
        device: ``cpu``, or a GPU, on which the step is a CUDA graph.
        precision: ``fp32``, ``tf32`` or ``bf16`` (autocast).
        deterministic: Whether convolutions add up in a fixed order, as those of this project do.
    """
    assert problem.clean is not None and steps > LAST
    with arithmetic(precision, deterministic=deterministic):
        step = bare_step(settings, problem, device=device, precision=precision, graph=device.startswith("cuda"))
        clean = problem.clean.to(device)

        def loop() -> None:
            for _ in range(steps - LAST):
                step.run()

        taken = clocked(loop, device)
        best = -torch.inf
        for _ in range(LAST):
            step.run()
            best = max(best, psnr(step.output, clean).item())
    return taken / (steps - LAST), best


def bare_step(settings: DipSettings, problem: Problem, *, device: str, precision: str, graph: bool) -> Step:
    """Return the step of the bare loop, with the initial weights and z that this project's fit of seed 0 has."""
    fit = DeepImagePrior(problem.noisy, settings=settings, contents=problem.contents).to(device)
    net, z, y = fit.net, fit.z, fit.noisy
    adam = torch.optim.Adam(net.parameters(), lr=settings.lr, capturable=graph)
    output = torch.empty_like(y)

    def step() -> None:
        adam.zero_grad(set_to_none=not graph)
        with torch.autocast(y.device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=not graph):
            x = net(z).float()
        mse_loss(x, y).backward()
        adam.step()
        output.copy_(x.detach())

    return Step(captured(step, net, adam, device) if graph else step, output, step)


def captured(step: Callable[[], None], net: torch.nn.Module, adam: torch.optim.Adam, device: str) -> Callable[[], None]:
    """Return the step as a CUDA graph. The steps that warm up are undone."""
    before = [p.detach().clone() for p in net.parameters()]
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    with torch.no_grad():
        for p, old in zip(net.parameters(), before, strict=True):
            p.copy_(old)
            for state in adam.state[p].values():
                state.zero_()
    synchronise(device)
    return graph.replay


@contextmanager
def arithmetic(precision: str | None, *, deterministic: bool = False) -> Iterator[None]:
    """Set the switches of a fresh PyTorch process, and those of a precision, inside the block.

    A fit of this project sets switches of the whole process: no TF32, and convolutions that add up in a fixed order.

    Args:
        precision: ``fp32`` (no TF32), ``tf32``, ``bf16``; None leaves PyTorch's defaults: TF32 in convolutions alone.
        deterministic: Whether convolutions add up in a fixed order.
    """
    cudnn: Any = torch.backends.cudnn
    products = torch.backends.cuda.matmul
    before = cudnn.allow_tf32, products.allow_tf32, cudnn.deterministic
    cudnn.allow_tf32 = precision != "fp32"
    products.allow_tf32 = precision == "tf32"
    cudnn.deterministic = deterministic
    try:
        yield
    finally:
        cudnn.allow_tf32, products.allow_tf32, cudnn.deterministic = before
