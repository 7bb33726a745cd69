"""Pictures for people: a strip of snapshots, the panel of a fit, the results side by side.

Each is a matplotlib figure of its own. pyplot is not used, because it has global state.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLUMNS = 8  # most pictures in a row of a strip
ABREAST = 4  # most pictures in a row of a panel
DPI = 100


def strip(pictures: Sequence[torch.Tensor], labels: Sequence[str]) -> np.ndarray:
    """Draw pictures in rows of at most `COLUMNS`, each with its label.

    Args:
        pictures: Each of shape (1, 3, H, W) or (3, H, W), in [0, 1]; clipped here.
        labels: One label for each picture.

    Returns:
        uint8, shape (height, width, 3).
    """
    return _grid(list(zip(labels, pictures, strict=True)), COLUMNS, 1.6)


def result_panel(items: Sequence[tuple[str, torch.Tensor]]) -> np.ndarray:
    """Draw titled pictures in rows of at most `ABREAST`.

    Args:
        items: (title, picture) pairs; pictures as for `strip`.

    Returns:
        uint8, shape (height, width, 3).
    """
    return _grid(items, ABREAST, 3.2)


def sheet(rows: Sequence[Sequence[tuple[str, torch.Tensor]]]) -> np.ndarray:
    """Draw rows of titled pictures, each row with the same number of pictures.

    Args:
        rows: (title, picture) pairs; pictures as for `strip`.

    Returns:
        uint8, shape (height, width, 3).
    """
    return _grid([item for row in rows for item in row], len(rows[0]), 2.0)


@dataclass(frozen=True, kw_only=True)
class FitPanel:
    """The panel of a fit. It shows both losses, y, the clean picture, z, the output and the best output.

    Attributes:
        loss_noisy: Mean squared error to y, one value an epoch.
        loss_clean: Mean squared error to the clean picture, or None.
        noisy: y, shape (1, 3, H, W).
        clean: The clean picture, same shape, or None.
        z: The network's input, same shape.
        current: The output of the chosen epoch, same shape.
        best: The kept output of best PSNR, same shape, or None.
        marks: Epochs to mark in the chart, by name.
        title: Title of the panel.
        given: Title of y.
    """

    loss_noisy: np.ndarray
    loss_clean: np.ndarray | None
    noisy: torch.Tensor
    clean: torch.Tensor | None
    z: torch.Tensor
    current: torch.Tensor
    best: torch.Tensor | None
    marks: Mapping[str, int]
    title: str
    given: str

    def draw(self) -> np.ndarray:
        """Return the panel, uint8, shape (height, width, 3)."""
        figure = Figure(figsize=(10.5, 7), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(self.title, parse_math=False)
        axes = figure.subplots(2, 3)
        self._draw_losses(axes[0, 0])
        shown = [(self.given, self.noisy), ("clean picture", self.clean), ("input z", self.z), ("output", self.current),
                 ("best kept output", self.best)]  # fmt: skip
        for ax, (name, picture) in zip(axes.flat[1:], shown, strict=True):
            _show(ax, name, picture)
        return _pixels(figure)

    def _draw_losses(self, ax: Axes) -> None:
        epochs = np.arange(1, len(self.loss_noisy) + 1)
        ax.semilogy(epochs, self.loss_noisy, label=f"to {self.given}", linewidth=1)
        if self.loss_clean is not None:
            ax.semilogy(epochs, self.loss_clean, label="to clean picture", linewidth=1)
        for i, (name, epoch) in enumerate(self.marks.items()):
            ax.axvline(epoch, color=f"C{i + 2}", linestyle="--", linewidth=1, label=f"{name}: {epoch}")
        ax.set_title("mean squared error", fontsize=10)
        ax.set_xlabel("epoch")
        ax.legend(fontsize=8)


def _grid(items: Sequence[tuple[str, torch.Tensor]], most: int, inches: float) -> np.ndarray:
    """Draw pictures in as few rows as possible, as equal as possible; a shorter last row is centred."""
    rows = math.ceil(len(items) / most)
    columns = math.ceil(len(items) / rows)
    lines = max(name.count("\n") + 1 for name, _ in items)
    height = inches + 0.5 + 0.15 * max(0, lines - 2)
    figure = Figure(figsize=(columns * inches, rows * height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    halves = figure.add_gridspec(rows, 2 * columns)
    for i, (name, picture) in enumerate(items):
        row, column = divmod(i, columns)
        left = 2 * column + (rows * columns - len(items)) * (row == rows - 1)
        _show(figure.add_subplot(halves[row, left : left + 2]), name, picture)
    return _pixels(figure)


def _show(ax: Axes, name: str, picture: torch.Tensor | None) -> None:
    ax.set_axis_off()
    ax.set_title(name, fontsize=9, parse_math=False)  # a path may hold a $
    if picture is None:
        ax.text(0.5, 0.5, "none", ha="center", va="center", transform=ax.transAxes)
        return
    array = picture.detach().cpu().float().reshape(picture.shape[-3:]).permute(1, 2, 0).clamp(0, 1)
    ax.imshow(array.numpy(), interpolation="nearest")


def _pixels(figure: Figure) -> np.ndarray:
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
