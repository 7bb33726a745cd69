"""Which stored epoch ``checkpoint`` means, and what is said of a fit; no network is trained here."""

from pathlib import Path

import numpy as np
import pytest
from support.curves import from_columns

from dipddpm.dip.stopping import Stop, Stopping
from dipddpm.fits import Fit
from dipddpm.fits.choice import Choice, choose

FLOOR = Stopping("loss_floor", threshold=1 / 46.5)  # fires in row 47, names epoch 45


def stored(epochs, ended=(), clean=True):
    """A fit whose loss is 1 / row and whose best picture is epoch 60's.

    Every tenth epoch is kept, and those at which earlier runs ``ended``.
    """
    rows = np.arange(1, epochs + 1)
    kept = sorted({*range(10, epochs + 1, 10), *ended})
    curves = from_columns(loss_noisy=1 / rows, seconds=np.where(rows > 47, 3.0, 1.0))
    rated = {e: 30 - abs(e - 60) / 10 if clean else None for e in kept}
    return Fit(curves, rated, epochs * 2.0, 0, [], key="key", folder=Path("nowhere"), request={})


def ask(fit, checkpoint, rule=FLOOR, max_epochs=200):
    return choose(fit, checkpoint, rule=rule, rule_name="loss_floor", max_epochs=max_epochs, every=10)


def test_each_checkpoint_of_a_fit_that_its_rule_ended():
    fit, said = stored(47, ended=[47]), Stop(45, 47)
    assert ask(fit, "stop") == Choice(40, "loss_floor", said, 47), "the newest kept at or before epoch 45"
    assert ask(fit, "last") == Choice(40, "last", said, 47)
    assert ask(fit, "oracle") == Choice(40, "oracle", said, 47)
    assert ask(fit, 20) == Choice(20, "given", None, 20)
    assert ask(fit, 50) is None, "to be extended"


def test_an_epoch_that_the_rule_names_is_itself_allowed_and_no_later_one():
    rule = Stopping("loss_floor", threshold=1 / 41.5)  # row 42, epoch 40
    assert ask(stored(50), "stop", rule) == Choice(40, "loss_floor", Stop(40, 42), 42)
    rule = Stopping("loss_floor", threshold=1 / 39.5)  # row 40, epoch 38
    assert ask(stored(50), "stop", rule) == Choice(30, "loss_floor", Stop(38, 40), 40)


@pytest.mark.parametrize("checkpoint", ["stop", "last", "oracle"])
def test_the_answer_comes_when_the_rule_fires_and_then_stays(checkpoint):
    assert {ask(stored(n), checkpoint) for n in range(1, 47)} == {None}
    answers = {ask(stored(n), checkpoint) for n in range(47, 131)}
    why = "loss_floor" if checkpoint == "stop" else checkpoint
    assert answers == {Choice(40, why, Stop(45, 47), 47)}, "epoch 60 is better, but beyond where the fit would end"


@pytest.mark.parametrize("checkpoint", ["stop", "last", "oracle"])
def test_a_rule_that_fires_beyond_max_epochs_does_not_fire(checkpoint):
    assert ask(stored(29), checkpoint, max_epochs=30) is None
    why = "max_epochs" if checkpoint == "stop" else checkpoint
    answers = {ask(stored(n), checkpoint, max_epochs=30) for n in (30, 46, 47, 120)}
    assert answers == {Choice(30, why, None, 30)}


def test_a_rule_that_fires_in_the_last_epoch_has_fired():
    assert ask(stored(60), "stop", max_epochs=47) == Choice(40, "loss_floor", Stop(45, 47), 47)
    assert ask(stored(60), "stop", max_epochs=46) == Choice(40, "max_epochs", None, 46)


def test_a_number_needs_no_rule_and_costs_its_own_epochs():
    assert ask(stored(120), 90) == Choice(90, "given", Stop(45, 47), 90)
    assert ask(stored(120), 95) is None
    assert ask(stored(120), 90, max_epochs=30) == Choice(90, "given", None, 90)


def test_a_rule_that_fires_before_anything_is_kept_means_the_first_kept():
    rule = Stopping("loss_floor", threshold=1 / 4.5)  # row 5, epoch 3
    assert ask(stored(5, ended=[5]), "stop", rule) is None
    assert ask(stored(10), "stop", rule) == Choice(10, "loss_floor", Stop(3, 5), 10)


@pytest.mark.parametrize(("checkpoint", "ended"), [("last", 47), ("oracle", 47), ("stop", 44)])
def test_the_answer_does_not_depend_on_where_earlier_runs_ended(checkpoint, ended):
    assert ask(stored(80, ended=[ended]), checkpoint) == ask(stored(80), checkpoint)


def test_oracle_needs_a_fit_that_knew_its_clean_picture():
    with pytest.raises(ValueError, match="oracle needs a fit that knew its clean picture"):
        ask(stored(60, clean=False), "oracle")
    assert ask(stored(60, clean=False), "stop") == ask(stored(60), "stop")
