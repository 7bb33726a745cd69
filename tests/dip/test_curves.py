"""A fit's curves: kept to the bit, and what is read off them on a model of a DIP with known answers."""

from typing import Any

import numpy as np
import pytest
from support.curves import from_columns, linear_dip

from dipddpm.dip.curves import COLUMNS, Curves, crossing, peak, weights_epoch


def test_peak_and_crossing_of_the_linear_model():
    curves, _ = linear_dip(rows=41)
    assert peak(curves) == 8, "a = 8/41 is the nearest to 1/5; row 9 measured the weights of epoch 8"
    assert crossing(curves) == 21, "a = 21/41 is the first above 1/2"


@pytest.mark.parametrize("angle", [-1.3, -0.4, 0.3, 0.9])
def test_the_crossing_is_where_half_of_the_noise_is_learnt(angle):
    curves, learnt = linear_dip(rows=97, angle=angle)
    epoch = crossing(curves)
    assert epoch is not None
    assert 2 * learnt[epoch] > 1, "row epoch + 1 measured that epoch's weights"
    assert 2 * learnt[epoch - 1] < 1


def test_a_fit_that_learns_too_little_noise_has_no_crossing():
    curves, learnt = linear_dip(rows=41)
    assert learnt[20] < 0.5
    assert crossing(curves.head(21)) is None
    assert crossing(curves.head(22)) == 21


def test_without_a_clean_picture_there_is_neither_peak_nor_crossing():
    curves = from_columns(loss_noisy=[0.5, 0.1, 0.0])
    assert peak(curves) is None and crossing(curves) is None
    assert peak(Curves()) is None and crossing(Curves()) is None


def test_peak_passes_over_rows_without_a_value_and_takes_the_first_of_equals():
    assert peak(from_columns(psnr=[20, np.nan, 23, 25, 25, np.nan, 24])) == 3
    assert peak(from_columns(psnr=[25, 20, 21])) == 1, "the start counts as epoch 1"
    assert [weights_epoch(row) for row in (1, 2, 3, 250)] == [1, 1, 2, 249]


def test_saved_curves_come_back_to_the_bit(tmp_path):
    rng = np.random.default_rng(3)
    columns = {name: rng.normal(size=17) * 10.0 ** rng.integers(-300, 300, 17) for name in COLUMNS}
    columns["psnr"][:5] = [np.nan, np.inf, -np.inf, -0.0, 5e-324]
    path = tmp_path / "curves-000017.npz.tmp"  # the store writes under a temporary name first
    from_columns(**columns).save(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    back = Curves.load(path)
    for name in COLUMNS:
        assert back.column(name).tobytes() == columns[name].tobytes(), name
    back.append(**dict.fromkeys(COLUMNS, 1.0))
    assert len(back) == 18, "a loaded trajectory goes on"


class Trap:
    """Pickled into a file, it makes another file when the first is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_in_the_file_is_refused_and_not_executed(tmp_path):
    trap = np.array([Trap(tmp_path / "executed")], dtype=object)
    np.savez(tmp_path / "bad.npz", **dict.fromkeys(COLUMNS, trap))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        Curves.load(tmp_path / "bad.npz")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("change", ["missing", "extra", "ragged"])
def test_a_file_with_other_columns_is_refused(tmp_path, change):
    columns: dict[str, Any] = {name: np.zeros(5) for name in COLUMNS}  # numpy's stub takes arrays for allow_pickle
    if change == "missing":
        del columns["psnr"]
    elif change == "extra":
        columns["ssim"] = np.zeros(5)
    else:
        columns["psnr"] = np.zeros(4)
    np.savez(tmp_path / "other.npz", **columns)
    with pytest.raises(ValueError, match="shorter" if change == "ragged" else "instead of a fit's curves"):
        Curves.load(tmp_path / "other.npz")


def test_a_row_has_every_column_and_no_other():
    curves = Curves()
    row = dict.fromkeys(COLUMNS, 0.0)
    for bad in (row | {"ssim": 1.0}, {k: v for k, v in row.items() if k != "lr"}):
        with pytest.raises(ValueError, match="values: must be loss_noisy"):
            curves.append(**bad)
    assert len(curves) == 0


def test_head_is_a_copy_of_the_beginning():
    curves = from_columns(lr=[1, 2, 3, 4, 5])
    head = curves.head(3)
    assert head.column("lr").tolist() == [1, 2, 3]
    head.append(**dict.fromkeys(COLUMNS, 0.0))
    assert curves.column("lr").tolist() == [1, 2, 3, 4, 5]
    assert len(curves.head(9)) == 5 and len(curves.head(0)) == 0
