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
    """One restoration of the picture.

    Attributes:
        name: The name of the row in the table.
        picture: Shape (N, 3, H, W), in [0, 1] up to clipping; N results from one start.
        quality: PSNR in dB, SSIM, and ST-LPIPS where it is installed; empty without a clean picture.
        nfe: Network evaluations of the DDPM per picture.
        seconds: Seconds of the window, or of the fit, per picture.
        facts: Further entries of the row in metrics.json.
    """

    name: str
    picture: torch.Tensor
    quality: dict[str, float]
    nfe: int = 0
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the picture, as JSON types."""
        return {**self.quality, "nfe": self.nfe, "seconds": round(self.seconds, 4), **self.facts}


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
        figures = [f"{row.quality[k]:.{digits}f}" if k in row.quality else "-" for k, (_, digits) in shown.items()]
        table.add_row(row.name, *figures, str(row.nfe), f"{row.seconds:.2f}" if row.seconds else "-")
    console = Console()
    console.print(table)
    for note in notes:
        console.print(note, soft_wrap=True, highlight=False, markup=False)
