"""The table and the notes that a run prints at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from dipddpm.names import QUALITIES


@dataclass
class Row:
    """One restoration of the picture, or with ``image=folder`` the means over the restorations of all pictures.

    Attributes:
        name: The name of the row in the table.
        picture: Shape (N, 3, H, W), in [0, 1] up to clipping; N results from one start, or of some of the pictures.
        quality: PSNR in dB, SSIM, and ST-LPIPS where it is installed; empty without a clean picture.
        nfe: Network evaluations of the DDPM per picture.
        seconds: Seconds of the window, or of the fit, per picture.
        facts: Further entries of the row in metrics.json.
        interval: Half widths of the 95% intervals of means over two or more pictures, by the names of ``quality``.
    """

    name: str
    picture: torch.Tensor
    quality: dict[str, float]
    nfe: float = 0
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    interval: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the picture, as JSON types."""
        of_many = {"interval": self.interval} if self.interval else {}
        return {**self.quality, "nfe": self.nfe, "seconds": round(self.seconds, 4), **self.facts, **of_many}

    def cell(self, key: str, digits: int) -> str:
        """Return a quality as text, with its interval: ``25.81 ± 0.32``."""
        if key not in self.quality:
            return "-"
        half = f" ± {self.interval[key]:.{digits}f}" if key in self.interval else ""
        return f"{self.quality[key]:.{digits}f}{half}"


def qualities(quality: Mapping[str, float]) -> str:
    """Return the figures of a picture in one line: ``25.81 dB, SSIM 0.801, ST-LPIPS 0.123``."""
    known = [(title, f"{quality[key]:.{digits}f}") for key, (title, digits) in QUALITIES.items() if key in quality]
    return ", ".join(f"{value} dB" if title.endswith("(dB)") else f"{title} {value}" for title, value in known)


def show(rows: Sequence[Row], notes: Sequence[str]) -> None:
    """Print the rows as a table, and the notes beneath it."""
    table = Table(title=None, header_style="bold")
    table.add_column("", overflow="fold")
    shown = {key: how for key, how in QUALITIES.items() if any(key in row.quality for row in rows)}
    for title in (*(title for title, _ in shown.values()), "NFE", "seconds"):
        table.add_column(title, justify="right")
    for row in rows:
        figures = [row.cell(key, digits) for key, (_, digits) in shown.items()]
        nfe = f"{row.nfe:.1f}".removesuffix(".0")
        table.add_row(row.name, *figures, nfe, f"{row.seconds:.2f}" if row.seconds else "-")
    console = Console()
    console.print(table)
    for note in notes:
        console.print(note, soft_wrap=True, highlight=False, markup=False)
