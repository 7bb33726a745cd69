"""bench/operators.py: cheap starts, the search for a level, and figures that are read back."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

import dipddpm as dd
from bench import operators, ways
from bench.cheap_starts import cheap_starts, wiener
from bench.operators import LEVELS, best_level
from bench.ways import Dip, Set, Way
from dipddpm.degradation.blur import Blur

DIP = Dip("skip", 100)


@pytest.fixture(scope="module")
def astronaut() -> torch.Tensor:
    return dd.read_picture("astronaut", size=64)


def test_the_wiener_filter_sharpens_a_blurred_picture(astronaut: torch.Tensor) -> None:
    clean = astronaut
    blur = Blur.gaussian(1.0)
    y = blur.measure(clean)
    sharp = wiener(y, blur.kernel, 1e-4)
    assert sharp.shape == y.shape
    assert (sharp - clean).square().mean() < 0.5 * (y - clean).square().mean()


def test_random_impulses_are_found_and_filled(astronaut: torch.Tensor) -> None:
    problem = dd.degrade(astronaut, dd.RandomImpulse(50))
    quality = {name: dd.psnr(make(), astronaut).item() for name, make in cheap_starts(problem).items()}
    assert quality["outliers filled, 0.1"] > quality["median of 3x3"] + 1 > quality["noisy picture"] + 5
    assert quality["total variation, absolute error, 0.6"] > quality["noisy picture"] + 7


def test_one_parameter_of_each_cheap_start_goes_on(
    tmp_path, astronaut: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operators, "choose_dip", lambda of: (DIP, {}))
    of = Set("tuning", [("a", astronaut)], "random_impulses", tmp_path, only_table=False)
    started = Set.figures
    monkeypatch.setattr(
        Set, "figures", lambda self, way, dip: started(self, way, dip) if way.level is None else [{"psnr": 0.0}]
    )
    chosen = list(operators.choose(of).ways)
    assert chosen[:2] == ["noisy picture", "median of 3x3"] and len(chosen) == 5
    assert chosen[2].startswith("total variation, absolute error") and chosen[3].startswith("outliers filled")


@pytest.mark.parametrize("operator, names", [
    (Blur.motion(5), ["blurred picture", "Wiener filter 0.001", "total variation"]),
    (dd.Downscale(4), ["repeated pixels", "bicubic"]),
])  # fmt: skip
def test_the_cheap_starts_have_full_size(operator: dd.Operator, names: Sequence[str], astronaut: torch.Tensor) -> None:
    problem = dd.degrade(astronaut[..., :32, :32], dd.Gaussian(5), operator)
    starts = cheap_starts(problem)
    assert [name for name in starts if name in names] == names
    assert {make().shape for make in starts.values()} == {problem.noisy.shape}
    assert torch.equal(list(starts.values())[-1](), problem.noisy), "the last one is the project's own"


@pytest.mark.parametrize("best", [10, 100, 300, 950])
def test_the_search_for_a_level_ends_at_the_best_one(best: int) -> None:
    """The figures have one peak: the search finds it from either side, without all levels."""

    class Peaked:
        def figures(self, way: Way, dip: Dip) -> list[dict[str, float]]:
            assert way.level is not None
            return [{"psnr": -abs(LEVELS.index(way.level) - LEVELS.index(best))}]

    found = best_level(Peaked(), "y", DIP)  # type: ignore[arg-type]
    assert max(found, key=lambda way: found[way]).level == best


def test_a_look_at_the_tables_runs_nothing(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bench.operators", "jpeg10", "--only-table", "--out", str(tmp_path)])
    monkeypatch.setattr(operators, "faces", lambda *given: [])
    monkeypatch.setattr(operators, "others", lambda *given: [])
    operators.main()
    assert "jpeg10" not in capsys.readouterr().out and not list(tmp_path.iterdir())


def test_figures_are_made_once(tmp_path, monkeypatch: pytest.MonkeyPatch, astronaut: torch.Tensor) -> None:
    pictures = [("a", astronaut), ("b", astronaut.flip(3))]
    of = Set("faces", pictures, "jpeg10", tmp_path, only_table=False)
    first = of.figures(Way("decoded file"), DIP)
    assert first[0]["psnr"] == pytest.approx(first[1]["psnr"], abs=1) and first[0]["psnr"] > 20
    monkeypatch.setattr(ways, "cheap_starts", None)  # nothing is computed again
    again = Set("faces", pictures, "jpeg10", tmp_path, only_table=True)
    psnrs, before = ([of["psnr"] for of in figures] for figures in (again.figures(Way("decoded file"), DIP), first))
    assert psnrs == pytest.approx(before, rel=1e-5)
    assert again.figures(Way("noise", 1000), DIP) == [], "only what is known"
