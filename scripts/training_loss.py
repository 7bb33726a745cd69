"""How the errors of a batch become one loss: what the levels weigh against each other."""

from __future__ import annotations

import torch

from scripts.train_prior_config import Loss

GAMMA = 5.0  # of min-SNR, as its paper recommends


def training_loss(kind: Loss, errors: torch.Tensor, ab: torch.Tensor) -> torch.Tensor:
    """Return the loss of a batch.

    Args:
        kind: ``mse``: all errors alike, so that low levels, whose epsilon is hard to tell, count most (Ho et al.,
            https://arxiv.org/abs/2006.11239, eq. 14). ``min_snr``: times min(SNR, 5) / SNR, SNR = ab / (1 - ab)
            (Hang et al., https://arxiv.org/abs/2303.09556, for epsilon). ``log_mse``: the logarithm of each, so that
            every picture and level counts by its relative error, as in PSNR.
        errors: Mean squared error of epsilon of each picture, shape (N,), above 0.
        ab: alphas_cumprod at each picture's timestep, shape (N,), in (0, 1).

    Returns:
        A scalar.
    """
    if kind is Loss.log_mse:
        return errors.log().mean()
    if kind is Loss.min_snr:
        snr = ab / (1 - ab)
        return (errors * snr.clamp(max=GAMMA) / snr).mean()
    return errors.mean()
