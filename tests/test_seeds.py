"""Seeds: the same for ever, different for whatever differs, untouched by torch's own state."""

import numpy as np
import pytest
import torch

from dipddpm import seeds


def test_golden_numbers():
    """They may never change: a fit on disk and its noise follow from them."""
    assert seeds.derive(0, "noise") == 6094347035957852577
    assert seeds.derive(42, "window", "0123456789abcdef", 3) == 9215729324563720382
    assert seeds.content_hash(np.arange(6, dtype=np.float32).reshape(2, 3)) == "3378efc20f15f0e8"


def test_every_argument_matters():
    calls = [(0, "noise"), (1, "noise"), (0, "dip input"), (0, "noise", "a"), (0, "noise", "b"), (0, "noise", "a", 0),
             (0, "noise", "a", 1), (0, "noise", 0), (0, "noise", "0"), (0, "noise", "a", "b"), (0, "noise", "ab"),
             (0, "noise", "b", "a"), (0, 'noise", "a'), (-1, "noise")]  # fmt: skip
    assert len({seeds.derive(*call) for call in calls}) == len(calls)


def test_generators_neither_read_nor_move_torchs_global_state():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    a = torch.randn(7, generator=seeds.generator(3, "noise", "x"))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    g = seeds.generator(3, "noise", "x")
    assert torch.equal(torch.randn(7, generator=g), a) and g.device.type == "cpu"
    assert not torch.equal(torch.randn(7, generator=g), a)
    assert not torch.equal(torch.randn(7, generator=seeds.generator(3, "noise", "y")), a)


def test_content_is_dtype_shape_and_every_value_but_not_layout():
    a = np.random.default_rng(0).random((11, 17, 3), dtype=np.float32)
    h = seeds.content_hash(a)
    assert len(h) == 16 and int(h, 16) >= 0
    assert seeds.content_hash(np.asfortranarray(a)) == h == seeds.content_hash(torch.from_numpy(a))
    changed = a.copy()
    changed[10, 16, 2] = np.nextafter(changed[10, 16, 2], np.float32(2))
    others = [changed, a.reshape(17, 11, 3), a.astype(np.float64), a.view(np.int32), a[:10]]
    assert len({h, *map(seeds.content_hash, others)}) == 6


def test_a_seed_is_a_whole_number():
    assert seeds.whole(np.int64(3)) == 3 and type(seeds.whole(np.int64(3))) is int
    for other in (1.5, 1.0, "1", True, None):
        with pytest.raises(ValueError, match=f"seed={other!r}: must be a whole number"):
            seeds.whole(other)
