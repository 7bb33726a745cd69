"""Panels show each picture, whole, in its place; curves and marks where they belong."""

import numpy as np
import pytest
import torch

from dipddpm.pictures import panels

COLOURS = [
    (1, 0, 0),
    (0, 1, 0),
    (0, 0, 1),
    (1, 1, 0),
    (1, 0, 1),
    (0, 1, 1),
    (0.4, 0.2, 0),
    (0, 0.4, 0.2),
    (0.2, 0, 0.4),
]
LINES = BLUE, ORANGE, _, _, _ = "1f77b4", "ff7f0e", "2ca02c", "d62728", "9467bd"  # matplotlib's, in its order


def flat(colour, height=11, width=17):
    return torch.tensor(colour, dtype=torch.float32).reshape(1, 3, 1, 1).expand(1, 3, height, width)


def find(image, colour):
    """Return rows and columns of the pixels of a picture's colour in [0, 1], or of a line's in hexadecimal digits."""
    line = isinstance(colour, str)  # smoothed at its edges
    value = list(bytes.fromhex(colour)) if line else np.rint(np.array(colour) * 255)
    return np.nonzero((np.abs(image.astype(int) - value) <= (30 if line else 1)).all(axis=2))


def strip(items):
    return panels.strip([picture for _, picture in items], [label for label, _ in items])


def sheet(items):
    return panels.sheet([items[:3], items[3:]])


@pytest.mark.parametrize("draw, count, columns, inches", [
    (strip, 1, 1, 1.6), (strip, 9, 5, 1.6), (panels.result_panel, 1, 1, 3.2), (panels.result_panel, 4, 4, 3.2),
    (panels.result_panel, 5, 3, 3.2), (panels.result_panel, 6, 3, 3.2), (panels.result_panel, 7, 4, 3.2),
    (sheet, 6, 3, 2.0),
])  # fmt: skip
def test_every_picture_appears_in_reading_order_with_its_shape_and_label(draw, count, columns, inches):
    items = [(f"label {i}", flat(colour)) for i, colour in enumerate(COLOURS[:count])]
    image = draw(items)
    wide, high = min(columns, count), -(-count // columns)
    assert image.dtype == np.uint8
    assert image.shape == (round(high * (inches + 0.5) * 100), round(wide * inches * 100), 3)
    for i, colour in enumerate(COLOURS[:count]):
        rows, cols = find(image, colour)
        assert int(rows.mean() * high / image.shape[0]) == i // columns
        missing = high * columns - count if i // columns == high - 1 else 0  # the last row is centred
        assert cols.mean() * wide / image.shape[1] == pytest.approx(i % columns + 0.5 + missing / 2, abs=0.1)
        height, width = np.ptp(rows) + 1, np.ptp(cols) + 1
        assert width / height == pytest.approx(17 / 11, rel=0.05)
        assert width > 0.8 * inches * 100, "a picture fills its place"
        above = image[rows.min() - 25 : rows.min() - 2, cols.min() : cols.max()]
        assert (above < 100).any(), "a label stands over it"


def test_a_title_of_three_lines_and_a_dollar_is_shown_as_it_is():
    image = panels.result_panel([("a $x_{ b\n2\n3", flat(COLOURS[0]))])
    assert image.shape[0] == 385 and len(find(image, COLOURS[0])[0]) > 10_000
    assert len(find(fit(title="$x_{"), COLOURS[0])[0]) > 1000


def test_pictures_are_upright_unsmoothed_and_clipped_and_batches_of_several_refused():
    picture = torch.zeros(3, 11, 17)
    picture[:, :, 8:] = -3.0
    picture[0, :4] = 5.0  # red above, black below
    image = panels.result_panel([("", picture)])
    red, black = find(image, (1, 0, 0)), find(image, (0, 0, 0))
    assert red[0].max() < black[0].min() and min(np.ptp(red[1]), np.ptp(black[1])) > 250
    assert np.ptp(red[0]) / np.ptp(black[0]) == pytest.approx(4 / 7, abs=0.05)
    assert len(red[0]) + len(black[0]) == pytest.approx(
        (np.ptp(red[1]) + 1) * (np.ptp([*red[0], *black[0]]) + 1), rel=0.02
    )
    with pytest.raises(RuntimeError):
        panels.result_panel([("", torch.zeros(2, 3, 11, 17))])
    with pytest.raises(ValueError):
        panels.strip([picture, picture], ["one label"])


def fit(**options):
    names = ("noisy", "clean", "z", "current", "best")
    losses = {"loss_noisy": np.geomspace(1, 1e-2, 40), "loss_clean": np.geomspace(0.5, 1e-3, 40)}
    shown = {name: flat(colour) for name, colour in zip(names, COLOURS, strict=False)}
    return panels.FitPanel(**{**losses, **shown, "marks": {}, "title": "a fit", "given": "y", **options}).draw()


def test_the_panel_of_a_fit_has_six_places_in_order():
    image = fit()
    assert image.shape == (700, 1050, 3)
    assert find(image, COLOURS[0])[0].min() > find(fit(title=""), COLOURS[0])[0].min() + 10, "a title on top"
    for place, colour in enumerate(COLOURS[:5], start=1):
        rows, cols = find(image, colour)
        assert (int(rows.mean() / 350), int(cols.mean() / 350)) == divmod(place, 3)
    for colour in (BLUE, ORANGE):
        rows, cols = find(image, colour)
        assert len(rows) > 100 and rows.max() < 370 and cols.max() < 370, "both curves, upper left"
    assert np.mean(find(image, ORANGE)[0]) > np.mean(find(image, BLUE)[0]), "the lower loss lies lower"


def test_what_is_not_known_is_left_out():
    image = fit(clean=None, best=None, loss_clean=None)
    assert [len(find(image, COLOURS[i])[0]) > 0 for i in range(5)] == [True, False, True, True, False]
    rows, cols = find(image, BLUE)
    assert len(rows) > 100 and len(find(image, ORANGE)[0]) == 0
    assert np.corrcoef(rows[cols < 250], cols[cols < 250])[0, 1] > 0.999, "straight: a geometric loss on a log axis"
    assert (image[150:200, 750:1000] < 100).any(), "it says none where the clean picture would be"


def test_marks_stand_at_their_epochs_which_count_from_1():
    image = fit(marks={"first": 1, "stop": 14, "last": 40})
    at = []
    for colour in LINES[2:]:
        columns, counts = np.unique(find(image, colour)[1], return_counts=True)
        assert counts.max() > 40, "a line from top to bottom"
        at.append(columns[counts.argmax()])
    assert (at[1] - at[0]) / (at[2] - at[0]) == pytest.approx(13 / 39, abs=0.01)
    assert find(image, ORANGE)[1].min() == pytest.approx(at[0], abs=3), "where the curves begin"
