"""Stopping rules: what they pick, when they can know, and that a longer fit never changes it."""

import json
from functools import partial

import numpy as np
import pytest
from support.curves import from_columns, linear_dip

from dipddpm.dip.curves import Curves
from dipddpm.dip.stopping import RULES, SETTLED, Stop, Stopping, emv, holdout, loss_floor, summarise, wmv

SEEDS = range(16)


def random_curves(seed):
    """Curves that fall and then rise, rough, with ties and with rows that have no value."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 240))
    rows = np.arange(n)

    def curve(bottom):
        values = np.abs(rows - bottom) / n + rng.normal(0, 0.1, n)
        values = np.round(values, 1) if seed % 2 else values
        return np.where(rng.random(n) < 0.1, np.nan, values)

    return from_columns(loss_noisy=curve(n * rng.random()), window_variance=curve(n * rng.random()),
                        moving_variance=curve(SETTLED + (n - SETTLED) * rng.random()),
                        holdout=curve(n * rng.random()))  # fmt: skip


def as_it_comes(values, patience):
    """Algorithm 1 of Wang et al. as they write it: an epoch at a time."""
    best, best_row = np.inf, 0
    for row, value in enumerate(values, start=1):
        if value < best:
            best, best_row = value, row
        elif best_row and row - best_row == patience:
            return Stop(max(1, best_row - 1), row)
    return None


ASKED = [partial(loss_floor, threshold=t) for t in (-0.1, 0.1, 0.3)]
ASKED += [partial(rule, patience=p) for rule in (wmv, emv, holdout) for p in (1, 5, 31)]


@pytest.mark.parametrize("rule", ASKED, ids=lambda rule: f"{rule.func.__name__} {rule.keywords}")
def test_a_rule_never_fires_earlier_and_never_changes_its_answer(rule):
    fired = 0
    for seed in SEEDS:
        curves = random_curves(seed)
        answer = rule(curves)
        fired += answer is not None
        for n in range(len(curves) + 1):
            known = answer is not None and n >= answer.fired_at
            assert rule(curves.head(n)) == (answer if known else None), (seed, n)
        if answer:
            assert 1 <= answer.epoch <= answer.fired_at <= len(curves)
    assert fired >= 3, "or nothing was tested"


@pytest.mark.parametrize("patience", [1, 2, 5, 31])
def test_the_variance_rules_are_the_papers_algorithm(patience):
    for seed in SEEDS:
        curves = random_curves(seed)
        assert wmv(curves, patience=patience) == as_it_comes(curves.column("window_variance"), patience)
        settled = np.concatenate([np.full(SETTLED, np.nan), curves.column("moving_variance")[SETTLED:]])
        assert emv(curves, patience=patience) == as_it_comes(settled, patience)
        assert holdout(curves, patience=patience) == as_it_comes(curves.column("holdout"), patience)


def test_loss_floor_stops_before_the_loss_reaches_the_noise():
    loss = 0.9 ** np.arange(1, 60)
    curves = from_columns(loss_noisy=loss)
    answer = loss_floor(curves, threshold=0.9**40)
    assert answer is not None
    assert answer == Stop(38, 40), "reaching it exactly counts"
    of_its_weights = loss[answer.epoch]  # row epoch + 1
    assert of_its_weights > 0.9**40
    assert loss[answer.epoch + 1] <= 0.9**40, "it is the last such epoch"


def test_loss_floor_at_the_edges():
    assert loss_floor(from_columns(loss_noisy=[0.1, 0.1]), threshold=0.2) == Stop(1, 1)
    assert loss_floor(from_columns(loss_noisy=[0.3, 0.1]), threshold=0.2) == Stop(1, 2)
    assert loss_floor(from_columns(loss_noisy=[np.nan, 0.3, np.nan]), threshold=0.2) is None
    rises_again = from_columns(loss_noisy=[0.5, 0.4, 0.3, 0.1, 0.6, 0.1])
    assert loss_floor(rises_again, threshold=0.2) == Stop(2, 4), "the first time counts"


def test_the_minimum_that_stands_is_picked_not_the_lowest_of_all():
    values = [np.nan, 9, 5, 6, 7, 8, 1, 2, 3, 4, 5]
    curves = from_columns(window_variance=values)
    assert wmv(curves, patience=3) == Stop(2, 6), "row 3 stood for three rows"
    assert wmv(curves, patience=4) == Stop(6, 11), "row 3 fell one short"
    assert wmv(curves, patience=5) is None


def test_of_equal_minima_the_first_stands():
    assert wmv(from_columns(window_variance=[4, 3, 3, 3, 3]), patience=3) == Stop(1, 5)


def test_a_patience_of_one_stops_at_the_first_row_that_does_not_fall():
    assert wmv(from_columns(window_variance=[4, 3, 2, 2.5]), patience=1) == Stop(2, 4)
    assert wmv(from_columns(window_variance=np.arange(50.0, 0, -1)), patience=1) is None
    for patience in (0, -3):
        with pytest.raises(ValueError, match=f"patience must be 1 or more, got {patience}"):
            wmv(Curves(), patience=patience)


def test_a_row_without_a_value_counts_as_waiting_and_is_never_picked():
    nan = np.nan
    assert wmv(from_columns(window_variance=[nan] * 30), patience=1) is None
    assert wmv(from_columns(window_variance=[nan, nan, 3, nan, nan]), patience=2) == Stop(2, 5)


def test_emv_does_not_ask_while_the_start_is_remembered():
    values = np.concatenate([np.zeros(SETTLED), [5, 4, 3, 4, 5, 6]])
    curves = from_columns(moving_variance=values)
    assert emv(curves, patience=2) == Stop(SETTLED + 2, SETTLED + 5)
    assert curves.column("moving_variance").tolist() == values.tolist(), "the curves are left as they are"


def test_nothing_fires_on_no_epochs():
    assert all(rule(Curves()) is None for rule in ASKED)


def test_a_rule_is_asked_by_its_name():
    n = 1004
    v = np.full(n + 1, 2.0)
    v[4] = 1.0  # row 5
    other = v.copy()
    other[4], other[200] = 2.0, 1.0
    curves = from_columns(loss_noisy=np.arange(n + 1, 0, -1.0), window_variance=v, moving_variance=other)
    assert Stopping("never")(curves) is None
    assert Stopping("loss_floor", threshold=7.0)(curves) == Stop(n - 7, n - 5)
    assert Stopping("wmv")(curves) == Stop(4, 1005), "no patience given is the paper's 1000"
    assert Stopping("wmv")(curves.head(n)) is None
    assert Stopping("emv", patience=31)(curves) == Stop(SETTLED, SETTLED + 32), "a plateau is a minimum from its start"


def test_a_rule_of_ones_own_is_a_function_or_a_registered_name(monkeypatch):
    def fifth(curves):
        return Stop(4, 5) if len(curves) >= 5 else None

    rule, curves = Stopping(fifth), from_columns(loss_noisy=np.ones(7))
    assert (rule.name, rule(curves.head(4)), rule(curves)) == ("fifth", None, Stop(4, 5))
    monkeypatch.setitem(RULES, "patient", lambda curves, threshold, patience: Stop(patience, len(curves)))
    assert Stopping("patient", patience=3)(curves) == Stop(3, 7)


def test_rules_that_cannot_be_asked_are_refused():
    with pytest.raises(ValueError, match="loss_floor needs a threshold, a mean squared error"):
        Stopping("loss_floor")(Curves())
    with pytest.raises(
        ValueError, match=r"no stopping rule wvm \(did you mean wmv\?\); .*: loss_floor, wmv, emv, holdout, never"
    ):
        Stopping("wvm")


def test_a_summary_names_every_epoch_and_is_plain_json():
    curves, _ = linear_dip(rows=41)
    flat = [np.nan] * 6 + [2.0] * 35  # a minimum in row 7, which nothing undercuts
    whole = from_columns(window_variance=flat, moving_variance=flat,
                         **{n: curves.column(n) for n in ("loss_noisy", "loss_clean", "psnr")})  # fmt: skip
    summary = summarise(whole, threshold=float(curves.column("loss_noisy")[30]), patience=17)
    expected = {"epochs": 41, "peak": 8, "crossing": 21, "loss_floor": 29, "wmv_17": 6, "emv_17": None}
    assert json.loads(json.dumps(summary)) == expected
    alone = summarise(from_columns(loss_noisy=curves.column("loss_noisy")), threshold=-1.0, patience=1000)
    assert alone == dict.fromkeys(["peak", "crossing", "loss_floor", "wmv_1000", "emv_1000"]) | {"epochs": 41}
