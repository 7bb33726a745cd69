"""The loss of a batch: what each error weighs, in closed form."""

from __future__ import annotations

import pytest
import torch

from scripts.train_prior_config import Loss
from scripts.training_loss import training_loss


@pytest.mark.parametrize(
    ("kind", "weights"),
    [
        (Loss.mse, [1.0, 1.0, 1.0]),
        (Loss.min_snr, [5 / 99, 1.0, 1.0]),  # SNR 99, 1 and 1/9
        (Loss.log_mse, [1 / 0.5, 1 / 0.25, 1 / 0.01]),  # the same relative error weighs the same
    ],
)
def test_the_gradient_of_each_error_is_its_weight(kind: Loss, weights: list[float]):
    errors = torch.tensor([0.5, 0.25, 0.01], requires_grad=True)
    training_loss(kind, errors, torch.tensor([0.99, 0.5, 0.1])).backward()
    assert errors.grad is not None
    assert torch.allclose(3 * errors.grad, torch.tensor(weights), rtol=1e-4)
