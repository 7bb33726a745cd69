"""The key `checkpoint`: its six meanings."""

from pathlib import Path

import pytest

from dipddpm.config.checkpoint import Checkpoint, check_kept, parse
from dipddpm.errors import UserError
from dipddpm.names import CHECKPOINTS


@pytest.mark.parametrize(("typed", "meaning", "fits"), [
    ("stop", Checkpoint("stop"), True),
    ("last", Checkpoint("last"), True),
    ("oracle", Checkpoint("oracle"), True),
    (250, Checkpoint("epoch", epoch=250), True),
    ("~/fits/ab/000250.safetensors", Checkpoint("file", file=Path("/home/me/fits/ab/000250.safetensors")), False),
    ("none", Checkpoint("none"), False),
])  # fmt: skip
def test_each_value_has_one_meaning(typed, meaning, fits, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert parse(typed) == meaning and parse(typed).fits is fits


def test_every_word_is_a_meaning():
    assert all(parse(word).kind == word for word in CHECKPOINTS)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("stopp", "did you mean stop?"),
        (2.5, "checkpoint=2.5 is not"),
        (True, "checkpoint=true is not"),
        (None, "checkpoint=null is not"),
    ],
)
def test_other_values_are_refused(typed, told):
    with pytest.raises(UserError) as caught:
        parse(typed)
    assert told in str(caught.value) and "stop, last, oracle, an epoch" in str(caught.value)


@pytest.mark.parametrize(
    ("epoch", "every", "near"),
    [(15, 10, "10 or 20"), (3, 10, "10"), (0, 10, "10"), (-5, 10, "10"), (101, 50, "100 or 150")],
)
def test_an_epoch_that_is_not_kept_is_refused_with_its_neighbours(epoch, every, near):
    with pytest.raises(UserError, match=f"type checkpoint={near}$"):
        check_kept(epoch, every)
    for kept in (every, 3 * every):
        check_kept(kept, every)
