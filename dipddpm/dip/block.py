"""A block of epochs: optimiser steps, and then the rows of the curves.

On a GPU the steps are captured once in a CUDA graph (`dipddpm.gpu`), and replayed: a step of a small network takes less
time than the launches of its kernels.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from dipddpm import gpu
from dipddpm.dip.kept import Fits, Kept
from dipddpm.dip.rows import RAW_COLUMNS, Rows, mean_error
from dipddpm.errors import first_line

log = logging.getLogger(__name__)
LEAST, MOST = 10, 64  # bounds of a piece's largest number of epochs
WANTED_NUMBERS = 2**24  # of a piece's outputs or input noise; a piece of `LEAST` epochs may have more
Step = Callable[[], None]


@dataclass(frozen=True)
class End:
    """The end of a block, which a GPU may not have reached yet."""

    epochs: int
    rows: list[list[dict[str, float]]]  # for each picture its rows from the pieces before the last one
    table: torch.Tensor  # the rows of the last piece, shape (N, epochs, columns), on the CPU
    kept: Kept
    reached: torch.cuda.Event | None

    def wait(self) -> list[list[dict[str, float]]]:
        """Return for each picture a row of `RAW_COLUMNS` for each epoch, once the device has reached the end."""
        if self.reached:
            self.reached.synchronize()
        return _with(self.rows, self.table)


class Block:
    """The steps of a fit. Its state is in the module, in the optimiser and in this object.

    All of it is in tensors on the device, but for the generators of the input noise.

    A block runs in pieces of at most `most` epochs, and the rows of a piece are read at once. A GPU need not wait while
    the host works at the end of a block: the next block can be begun ahead. `settle` undoes its epochs.

    Args:
        module: The module, on its device.
        optimizer: The optimiser of its networks.
    """

    def __init__(self, module: Fits, optimizer: torch.optim.Optimizer) -> None:
        self.module, self.optimizer = module, optimizer
        y, steps = module.noisy, module.settings.steps_per_epoch
        self.checked = False  # the shape of the output
        noise, every = module.settings.input_noise, module.settings.checkpoint_every
        room = WANTED_NUMBERS // ((steps if noise else 1) * y.numel())
        self.most = max(LEAST, min(MOST, room, every))
        self.rows = Rows(module, self.most)
        self.noise = torch.zeros((self.most * steps if noise else 0, *y.shape), device=y.device)
        self.step = torch.zeros(1, dtype=torch.int64, device=y.device)  # of the noise
        _align(optimizer)
        for group in optimizer.param_groups:  # the state of a fit that began on another device has that device's value
            group["capturable"] = y.is_cuda
        self.first: Step
        self.further: Step
        self.read_usual: gpu.Captured | None
        self.usual = min(self.most, every)  # epochs of most pieces
        self._without_graphs()
        self.captured: list[dict[str, object]] = []  # the optimiser's settings, which are constants of the graphs
        self.begun: End | None = None  # the block that was begun ahead
        self.before: list[torch.Tensor] = []  # the state before that block
        self.generators: list[torch.Tensor] = []
        if gpu.can_capture(y):
            self._capture()

    def run(self, epochs: int, ahead: int = 0) -> tuple[list[list[dict[str, float]]], Kept]:
        """Run a block; return for each picture a row of `RAW_COLUMNS` for each epoch, and what is kept at its end.

        Args:
            epochs: Epochs of the block: those of ``ahead`` in the call before, where the block was begun.
            ahead: Epochs of the next block, which is begun before the rows are read; 0 begins none.
        """
        end, self.begun = self.begun or self._begin(epochs), None
        assert end.epochs == epochs
        if ahead and ahead <= self.most:  # a longer block reads rows between its pieces
            self._remember()
            self.begun = self._begin(ahead)
        return end.wait(), end.kept

    def settle(self) -> None:
        """Undo the epochs that were begun ahead, so that the state is that of the last block's end."""
        if not self.begun:
            return
        self.begun = None
        with torch.no_grad():
            for tensor, value in zip(self._state(), self.before, strict=True):
                tensor.copy_(value)
        for generator, state in zip(self.module.input_generators, self.generators, strict=True):
            generator.set_state(state)

    def end(self) -> None:
        """Free what only a running fit needs: the graphs, which hold this object, and the copy of the state."""
        self.first = self.further = _nothing
        self.read_usual, self.begun, self.before = None, None, []

    def _remember(self) -> None:
        state = [tensor.detach() for tensor in self._state()]
        if not self.before:
            self.before = [torch.empty_like(tensor) for tensor in state]
        for tensor, value in zip(self.before, state, strict=True):
            tensor.copy_(value)
        self.generators = [generator.get_state() for generator in self.module.input_generators]

    def _begin(self, epochs: int) -> End:
        """Run a block, and return its end. On a GPU the last piece may not have run yet."""
        if self.captured and self.captured != self._settings():  # a callback has changed the learning rate
            self._capture()
        rows: list[list[dict[str, float]]] = [[] for _ in self.module.noisy]
        left = epochs
        while left > self.most:
            rows, left = _with(rows, self._piece(self.most)), left - self.most
        table, kept = gpu.fetched(self._piece(left)), self.module.kept().fetched()
        return End(epochs, rows, table, kept, gpu.reached(self.step))

    def _piece(self, epochs: int) -> torch.Tensor:
        """Run a piece, and return its rows, shape (N, epochs, columns)."""
        self._draw(epochs)
        for _ in range(epochs):
            self.first()
            for _ in range(self.module.settings.steps_per_epoch - 1):
                self.further()
        if self.read_usual is None or epochs != self.usual:
            return self.rows.read(epochs)
        self.read_usual.replay()
        return self.read_usual.outputs

    def _draw(self, epochs: int) -> None:
        """Draw the input noise of some epochs on the CPU, one step after the other, and reset the counters."""
        self._reset()
        if not len(self.noise):
            return
        steps, one = epochs * self.module.settings.steps_per_epoch, (1, *self.noise.shape[2:])
        drawn = [[torch.randn(one, generator=g) for _ in range(steps)] for g in self.module.input_generators]
        noise = torch.stack([torch.cat(each) for each in zip(*drawn, strict=True)])
        self.noise[:steps].copy_(gpu.sent(noise, self.noise.device))

    def _reset(self) -> None:
        self.rows.epoch.zero_()
        self.step.zero_()

    def _step(self, *, measured: bool) -> None:
        module = self.module
        self.optimizer.zero_grad()
        z = module.z
        if len(self.noise):
            z = z + module.settings.input_noise * self.noise.index_select(0, self.step)[0]
            self.step += 1
        output = module(z)
        if not self.checked and not output.requires_grad:
            raise ValueError(f"network {type(module.net).__name__} gives an output without a gradient")
        if not self.checked and output.shape != module.noisy.shape:
            name, given, wanted = type(module.net).__name__, tuple(output.shape), tuple(module.noisy.shape)
            raise ValueError(f"network {name} gives the shape {given}: must be that of z, {wanted}")
        losses, squares = self._losses(output)
        if not self.checked and not losses.requires_grad:
            raise ValueError(f"a fit needs the gradient of the operator ({module.operator.words}), which has none")
        self.checked = True
        if measured:
            self.rows.add(output.detach(), squares.detach())
        losses.sum().backward()
        module.clip()
        self.optimizer.step()

    def _losses(self, output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss that each network minimises, and its mean squared error to y. Both have the shape (N,)."""
        m = self.module
        if m.seen is None:
            squares = m.operator.losses(output, m.y)
            return squares, squares
        residuals = m.operator.residuals(output, m.y)
        squares = (residuals.square() * m.seen).flatten(1).sum(1)
        return squares if m.settings.loss == "mse" else mean_error(residuals, m.seen, m.settings.loss), squares

    def _without_graphs(self) -> None:
        self.first, self.further = partial(self._step, measured=True), partial(self._step, measured=False)
        self.read_usual = None

    def _capture(self) -> None:
        """Replace both kinds of step, and the reading of the rows, by the replays of their graphs."""
        self._without_graphs()
        self._reset()
        self.captured = self._settings()
        fresh, tensors = not self.optimizer.state, self._state()
        before = [tensor.detach().clone() for tensor in tensors]
        several = self.module.settings.steps_per_epoch > 1
        try:
            first = gpu.Captured(lambda _: self._step(measured=True), self.step)
            further = gpu.Captured(lambda _: self._step(measured=False), self.step) if several else first
            self.first, self.further = first.replay, further.replay
            self.read_usual = gpu.Captured(lambda _: self.rows.read(self.usual), self.step)
        except RuntimeError as error:  # such as an operation that waits for the device
            if isinstance(error, torch.cuda.OutOfMemoryError) and len(self.module.noisy) > 1:
                raise  # a smaller stack is tried
            log.warning("the fit runs without a CUDA graph: %s", first_line(error))
        with torch.no_grad():
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)
            for tensor in self._of_optimizer() if fresh else ():
                tensor.zero_()

    def _settings(self) -> list[dict[str, object]]:
        groups = self.optimizer.param_groups
        return [{name: value for name, value in group.items() if name != "params"} for group in groups]

    def _state(self) -> list[torch.Tensor]:
        parts = (self.module.windowed, self.module.moving, self.module.average)
        tensors = [*self.module.net.parameters(), *self.module.net.buffers()]
        tensors += [tensor for part in parts for tensor in part.tensors()]
        return tensors + self._of_optimizer()

    def _of_optimizer(self) -> list[torch.Tensor]:
        states = self.optimizer.state.values()
        return [value for state in states for value in state.values() if isinstance(value, torch.Tensor)]


def _nothing() -> None: ...


def _with(rows: Sequence[list[dict[str, float]]], table: torch.Tensor) -> list[list[dict[str, float]]]:
    """Return the rows of each picture and those of a table, shape (N, epochs, columns). It waits for a GPU's table."""
    tables = table.tolist()
    return [
        before + [dict(zip(RAW_COLUMNS, values, strict=False)) for values in of_one]
        for before, of_one in zip(rows, tables, strict=True)
    ]


def _align(optimizer: torch.optim.Optimizer) -> None:
    """Give the averages of Adam the strides of their weights.

    The state of a continued fit can have another memory format. The fused kernel reads both in the same order, without
    a check.
    """
    for weights, state in optimizer.state.items():
        for name, value in state.items():
            if value.shape == weights.shape and value.stride() != weights.stride():
                state[name] = torch.empty_like(weights, requires_grad=False).copy_(value)
