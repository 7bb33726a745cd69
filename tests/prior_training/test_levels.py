"""The noise levels that training draws follow their law, and every batch covers it."""

from __future__ import annotations

import math

import pytest
import torch

from prior_training.levels import draw_levels, stratified

T = 1000
ALPHAS_CUMPROD = torch.cumprod(1 - torch.linspace(1e-4, 0.02, T), 0)
LOG_RATIO = ((1 - ALPHAS_CUMPROD) / ALPHAS_CUMPROD).sqrt().log()


def drawn(share: float, *, n: int = 20000, mean: float = -0.6, std: float = 1.4) -> torch.Tensor:
    u = stratified(n, torch.Generator().manual_seed(0))
    return draw_levels(u, ALPHAS_CUMPROD, share, mean, std)


def test_each_part_of_the_unit_interval_gets_one_number():
    u = stratified(24, torch.Generator().manual_seed(0))
    assert torch.equal((24 * u).long(), torch.arange(24))
    assert len((24 * u).frac().unique()) == 24


def test_the_logarithm_of_the_ratio_is_normal():
    log_ratio = LOG_RATIO[drawn(1.0, std=0.8)]  # narrow enough to lie within the schedule
    assert log_ratio.mean() == pytest.approx(-0.6, abs=0.01) and log_ratio.std() == pytest.approx(0.8, abs=0.01)
    for z, share in ((-1.0, 0.1587), (0.0, 0.5), (2.0, 0.9772)):
        assert (log_ratio < -0.6 + 0.8 * z).float().mean() == pytest.approx(share, abs=0.01)


def test_without_log_normal_levels_all_are_alike():
    index_t = drawn(0.0)
    for below in (50, 300, 900):
        assert (index_t < below).float().mean() == pytest.approx(below / T, abs=0.002)


def test_a_share_mixes_the_two_and_one_batch_has_it():
    index_t = drawn(0.75, n=24, mean=math.log(1e-3), std=1e-3)  # all log-normal ones at the first timestep
    assert (index_t == 0).sum() == 18
    assert torch.equal(index_t[18:].sort().values // 166, torch.arange(6)), "the others one in each sixth"


def test_no_number_leaves_the_schedule():
    u = torch.tensor([0.0, 1e-8, 0.5, 0.74999994, 0.75, 1 - 2**-24])
    for share in (0.0, 0.5, 0.75, 1.0):
        index_t = draw_levels(u, ALPHAS_CUMPROD, share, -0.6, 5.0)
        assert index_t.dtype == torch.int64 and index_t.min() >= 0 and index_t.max() < T
