"""The rows of the curves, measured on the outputs of several epochs at once.

One operation on the outputs of ten epochs takes about as long as on those of one.
"""

from __future__ import annotations

import torch

from dipddpm.dip.kept import Fits

# Only a fit with held-out values has "holdout". The colours tell whether a channel of the output is dead.
RAW_COLUMNS = ("loss_noisy", "loss_clean", "clipped", "energy", "red", "green", "blue", "window_variance",
               "moving_variance", "holdout")  # fmt: skip
DARK = 0.5 / 255  # a channel of y up to this mean is black, and an output of zero is right for it


class Rows:
    """The outputs of some epochs of N fits, and their rows. Outputs and losses are kept on the device.

    Args:
        module: The fits.
        most: The largest number of epochs whose outputs are kept.
    """

    def __init__(self, module: Fits, most: int) -> None:
        self.module, y = module, module.noisy
        self.bright = (y.mean((2, 3)) > DARK)[:, None]
        self.outputs = torch.zeros((len(y), most, *y.shape[1:]), device=y.device)
        self.losses = torch.zeros((len(y), most), dtype=torch.float64, device=y.device)
        self.epoch = torch.zeros(1, dtype=torch.int64, device=y.device)
        for part in (module.windowed, module.moving, module.average):
            part.start(y)

    @torch.no_grad()
    def add(self, output: torch.Tensor, losses: torch.Tensor) -> None:
        """Keep the outputs of an epoch, shape (N, 3, H, W), and their mean squared errors to y, shape (N,)."""
        self.outputs.index_copy_(1, self.epoch, output[:, None])
        self.losses.index_copy_(1, self.epoch, losses[:, None].double())
        self.epoch += 1

    @torch.no_grad()
    def read(self, epochs: int) -> torch.Tensor:
        """Return the rows of the first ``epochs`` outputs, and add these outputs to variances and average.

        Returns:
            float64, shape (N, epochs, columns); the columns are `RAW_COLUMNS`, or those before ``holdout``.
        """
        module, outputs, losses = self.module, self.outputs[:, :epochs], self.losses[:, :epochs]
        errors = [losses, losses]
        if module.clean is not None:
            clean = module.clean[:, None]
            errors = [_mean_square(outputs - clean), _mean_square(outputs.clamp(0, 1) - clean)]
        dead = (outputs.abs().amax((3, 4)) == 0) & self.bright
        variances = [module.windowed.update(outputs), module.moving.update(outputs)]
        columns = [losses, *errors, _mean_square(outputs), *dead.unbind(2), *variances]
        held_out = []
        for output in outputs.unbind(1):
            if module.held is not None:
                kept = module.average.value() if module.average.decay else output  # of the epoch before
                residuals = module.operator.residuals(kept, module.y)
                held_out.append(mean_error(residuals, module.held, module.settings.loss))
            if module.average.decay:
                module.average.update(output)
        columns += [torch.stack(held_out, 1)] if held_out else []
        return torch.stack([column.double() for column in columns], 2)


def _mean_square(x: torch.Tensor) -> torch.Tensor:
    """Return the mean square of each output, shape (N, E), for outputs of the shape (N, E, 3, H, W).

    On a CPU its bits do not depend on N and E.
    """
    # In two steps: the sum of one long row is parted among threads, and its rounding would depend on their number.
    return x.square().flatten(3).mean(3).mean(2)


def mean_error(residuals: torch.Tensor, weights: torch.Tensor, loss: str) -> torch.Tensor:
    """Return the mean squared residual of each picture, or with ``l1`` the mean absolute one: shape (N,).

    Args:
        residuals: Shape (N, 3, h, w).
        weights: Same shape, sum 1 a picture.
        loss: ``mse`` or ``l1``.
    """
    errors = residuals.square() if loss == "mse" else residuals.abs()
    return (errors * weights).flatten(1).sum(1)
