"""The key ``checkpoint``: the picture that a window starts from. Imports no torch.

| typed | the window starts from |
|---|---|
| ``stop`` | the newest kept epoch up to the one that the stopping rule names; the last one where the rule never fires |
| ``last`` | the last kept epoch up to where the rule fired, or up to ``dip.max_epochs`` |
| ``oracle`` | of the kept epochs up to there the one of best PSNR; needs a clean picture |
| ``250`` | epoch 250; the fit is extended to it where it is shorter |
| ``<file>.safetensors`` | the picture in the file of a kept epoch, of any fit; nothing is fitted |
| ``none`` | y itself, completed where an operator removed a part; nothing is fitted |

A fit keeps every ``dip.checkpoint_every``-th epoch. A kept epoch is a file with weights and a picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dipddpm.errors import UserError, spelled, suggestion
from dipddpm.files import expanded, is_kept_file
from dipddpm.names import CHECKPOINTS

ALLOWED = "stop, last, oracle, an epoch, the path of a kept epoch (*.safetensors), or none (no DIP)"


@dataclass(frozen=True)
class Checkpoint:
    """A parsed value of ``checkpoint``.

    Attributes:
        kind: One of the six meanings.
        epoch: The number, where the kind is ``epoch``. `check_kept` refuses an epoch that is not kept.
        file: The path, where the kind is ``file``, with ``~`` expanded.
    """

    kind: Literal["stop", "last", "oracle", "epoch", "file", "none"]
    epoch: int | None = None
    file: Path | None = None

    @property
    def fits(self) -> bool:
        """Whether a DIP is fitted, or a stored fit found."""
        return self.kind not in ("file", "none")


def parse(value: object) -> Checkpoint:
    """Return the meaning of a value of ``checkpoint``.

    Raises:
        UserError: When the value has none of the six meanings.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return Checkpoint("epoch", epoch=value)
    if isinstance(value, str) and value in CHECKPOINTS:
        return Checkpoint(value)
    if isinstance(value, str) and is_kept_file(value):
        return Checkpoint("file", file=expanded(value))
    near = suggestion(value, CHECKPOINTS) if isinstance(value, str) else ""
    raise UserError(f"checkpoint={spelled(value)} is not allowed: {ALLOWED}{near}")


def check_kept(epoch: int, every: int) -> None:
    """Refuse an epoch that is not kept, and name its neighbours.

    Args:
        epoch: The epoch as typed.
        every: ``dip.checkpoint_every``.

    Raises:
        UserError: Where ``epoch`` is below 1, or no multiple of ``every``.
    """
    if epoch >= 1 and not epoch % every:
        return
    below, above = epoch // every * every, (epoch // every + 1) * every
    near = f"{below} or {above}" if below >= every else f"{every}"
    raise UserError(
        f"checkpoint={epoch} is not a kept epoch: every {every}th epoch is kept "
        f"(dip.checkpoint_every); type checkpoint={near}"
    )
