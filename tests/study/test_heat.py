"""Heat maps: means over pairs of swept keys."""

import itertools

from support.study_jobs import job, metrics

from dipddpm.study import read_frame
from dipddpm.study.heat import MOST_MAPS, MOST_VALUES, heat_maps


def cells(means):
    """Return the cells of a heat map as lists, None where there is no result."""
    return means.astype(object).where(means.notna(), None).values.tolist()


def test_cells_are_means_over_the_other_keys_in_natural_order(tmp_path):
    for i, (a, b, c) in enumerate(itertools.product(["10", "9"], ["0.1", "auto", "1e-3"], ["x", "y"])):
        job(tmp_path, [f"a={a}", f"b={b}", f"c={c}", "threads=1"], metrics(20.0 + i, nfe=10 * (i + 1)))
    maps = heat_maps(read_frame(tmp_path))
    assert [(m.index.name, m.columns.name) for m in maps] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert maps[0].index.tolist() == ["9", "10"]
    assert maps[0].columns.tolist() == ["1e-3", "0.1", "auto"]
    # PSNR is 20 + the running number: a=10 from 0, a=9 from 6; b=0.1, auto, 1e-3 two each
    assert cells(maps[0]) == [[30.5, 26.5, 28.5], [24.5, 20.5, 22.5]]


def test_a_cell_without_a_result_is_empty_not_zero(tmp_path):
    job(tmp_path, ["a=1", "b=1"], metrics(20.0))
    job(tmp_path, ["a=1", "b=2"], metrics(24.0))
    job(tmp_path, ["a=2", "b=1"], error="no")
    job(tmp_path, ["a=2", "b=null"], metrics(28.0))
    (means,) = heat_maps(read_frame(tmp_path))
    assert means.columns.tolist() == ["1", "2", "null"]
    assert cells(means) == [[20.0, 24.0, None], [None, None, 28.0]]


def test_a_setting_that_failed_on_one_picture_gains_nothing_by_it(tmp_path):
    for layers, seed, psnr in (("4", "1", 30.0), ("4", "2", 20.0), ("6", "1", 31.0)):
        job(tmp_path, [f"dip.layers={layers}", f"seed={seed}", "dip.lr=1"], metrics(psnr))
    job(tmp_path, ["dip.layers=6", "seed=2", "dip.lr=1"], error="no")
    job(tmp_path, ["dip.layers=6", "seed=1", "dip.lr=2"], error="no")
    means = heat_maps(read_frame(tmp_path))[0]
    assert (means.index.name, means.columns.name) == ("dip.layers", "dip.lr")
    assert cells(means) == [[25.0, None], [None, None]], "6 layers, on the easy seed alone, would be 31"


def test_maps_that_would_show_nothing_or_too_much_are_left_out(tmp_path):
    for i in range(MOST_VALUES + 1):
        keys = [f"k{j}={i % 2}" for j in range(7)]
        job(tmp_path / "big", [f"lr={i / 1000}", *keys], metrics(20.0 + i))
    maps = heat_maps(read_frame(tmp_path / "big"))
    assert len(maps) == MOST_MAPS
    assert "lr" not in {name for means in maps for name in (means.index.name, means.columns.name)}
    for a, b in itertools.product("12", "12"):
        job(tmp_path / "unclean", [f"a={a}", f"b={b}"], metrics(None))
    assert heat_maps(read_frame(tmp_path / "unclean")) == []
