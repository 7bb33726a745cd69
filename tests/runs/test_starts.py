"""The three kinds of start: what each costs, and what people call it."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.curves import from_columns

from dipddpm.fits.choice import Choice
from dipddpm.runs.starts import DirectStart, FileStart, FittedStart

PICTURE = torch.zeros(1, 3, 5, 7)


@pytest.mark.parametrize("epochs", [47, 200])
def test_a_fit_costs_the_epochs_that_were_needed_however_fast_the_others_were(epochs: int):
    curves = from_columns(seconds=[1.0] * 47 + [3.0] * (epochs - 47))
    dip = {"network": "cnn", "layers": 1, "channels": 3, "kernel_size": 3, "final_relu": True, "steps_per_epoch": 1}
    fit: Any = SimpleNamespace(curves=curves, seconds=2.0 * epochs, request={"dip": dip})
    start = FittedStart(PICTURE, fit, Choice(40, "loss_floor", None, needed=47), made=True)
    assert start.seconds == pytest.approx(2 * epochs * 47 / (47 + 3 * (epochs - 47)))
    assert start.gflop == pytest.approx(47 * 2 * 9 * 9 * 35 * (3 * 3 - 1) / 1e9), "of z no gradient is taken"
    assert start.label == "epoch 40 (loss_floor)"


def test_a_file_has_no_known_cost_and_y_itself_has_none():
    assert FileStart(PICTURE, "a file").gflop is None
    assert DirectStart(PICTURE, "noisy picture").gflop == 0
