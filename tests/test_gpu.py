"""Functions as CUDA graphs: the logic on a CPU, with a graph that calls the function; the graph itself on a GPU."""

import math
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import dipddpm as dd
from dipddpm import gpu
from dipddpm.diffusion import prior as priors
from dipddpm.dip import callbacks
from dipddpm.dip.curves import COLUMNS
from dipddpm.dip.settings import DipSettings
from dipddpm.gpu import Captured, Graphs, sent


class Replayed:
    """Stands for `Captured`: calls the function on its static inputs."""

    made: list[tuple[torch.Size, ...]] = []

    def __init__(self, function, *examples: Tensor) -> None:
        self.function = function
        self.made.append(tuple(one.shape for one in examples))

    def __call__(self, *arguments: Tensor) -> Tensor:
        return self.function(*arguments)


@pytest.fixture
def made(monkeypatch):
    """The shapes of the graphs that were captured, on a CPU that takes itself for a GPU."""
    Replayed.made = []
    monkeypatch.setattr(gpu, "can_capture", lambda _: True)
    monkeypatch.setattr(gpu, "Captured", Replayed)
    return Replayed.made


def twice(x: Tensor, t: Tensor) -> Tensor:
    return 2 * x + t


def shapes(*sizes: int) -> list[tuple[torch.Size, ...]]:
    return [(torch.Size([n]), torch.Size([])) for n in sizes]


def test_each_shape_is_captured_once_and_the_newest_are_kept(made):
    graphs = Graphs(twice, "twice")
    for n in (1, 2, 1, 3, 4, 1, 5):
        assert graphs(torch.full((n,), 1.5), torch.tensor(n)).tolist() == [3.0 + n] * n
    assert made == shapes(1, 2, 3, 4, 5)
    graphs(torch.ones(1), torch.tensor(0))
    assert made == shapes(1, 2, 3, 4, 5), "1 was used after 2, which had to go"
    graphs(torch.ones(2), torch.tensor(0))
    assert made == shapes(1, 2, 3, 4, 5, 2)
    graphs(torch.ones(2).bfloat16(), torch.tensor(0))
    assert len(made) == 7, "another type is another graph"


def test_a_gradient_needs_the_function_itself(made):
    x = torch.ones(3, requires_grad=True)
    Graphs(twice, "twice")(x, torch.tensor(1)).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [2.0] * 3 and made == []
    with torch.no_grad():
        Graphs(twice, "twice")(x, torch.tensor(1))
    assert made == shapes(3)


def test_where_no_graph_can_be_captured_the_function_runs_and_one_line_says_so(made, monkeypatch, caplog):
    class Fails:
        def __init__(self, *_: object) -> None:
            made.append(())
            raise RuntimeError("operation not permitted\nwhen stream is capturing")

    monkeypatch.setattr(gpu, "Captured", Fails)
    graphs = Graphs(twice, "prior faces64")
    for _ in range(3):
        assert graphs(torch.ones(1), torch.tensor(1)).tolist() == [3.0]
    assert [r.getMessage() for r in caplog.records] == [
        "prior faces64 runs without a CUDA graph: operation not permitted"
    ]
    assert len(made) == 1


def test_a_graph_is_captured_in_the_same_modes_whatever_those_of_its_first_call(made, monkeypatch):
    """The static inputs of a graph that is made in inference mode could not be overwritten outside of it."""
    modes = []

    class Seen(Replayed):
        def __init__(self, function, *examples: Tensor) -> None:
            super().__init__(function, *examples)
            modes.append((torch.is_inference_mode_enabled(), torch.is_grad_enabled()))

    monkeypatch.setattr(gpu, "Captured", Seen)
    with torch.inference_mode():
        Graphs(twice, "twice")(torch.ones(1), torch.tensor(1))
    Graphs(twice, "twice")(torch.ones(1), torch.tensor(1))
    assert modes == [(False, False)] * 2 and torch.is_grad_enabled()


def test_a_network_whose_weights_have_moved_is_captured_anew(made):
    weight = torch.nn.Parameter(torch.ones(1))
    graphs, before = Graphs(lambda x: x * weight, "a network", [weight]), weight.data
    for _ in range(2):
        graphs(torch.ones(1))
    assert len(made) == 1
    weight.data = 3 * before  # as network.to(device) does
    assert graphs(torch.ones(1)).item() == 3.0 and len(made) == 2


def test_what_is_kept_is_in_ordinary_memory(monkeypatch):
    """`is_pinned` is False without a GPU: this one takes all memory for such."""
    x = torch.rand(2, 3)
    assert gpu.unpinned(x) is x
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda self: True)
    for one in (x, torch.tensor(3)):
        assert gpu.unpinned(one).equal(one) and gpu.unpinned(one).data_ptr() != one.data_ptr()


def test_memory_in_cycles_is_given_back():
    class Cycle:
        def __init__(self) -> None:
            self.itself = self

    there = weakref.ref(Cycle())
    gpu.release()
    assert there() is None


def test_a_processor_captures_nothing(monkeypatch, caplog):
    monkeypatch.setattr(gpu, "Captured", None)
    assert Graphs(twice, "twice")(torch.ones(1), torch.tensor(1)).tolist() == [3.0] and not caplog.records
    assert sent(torch.ones(1), torch.device("cpu")).tolist() == [1.0]


def test_a_captured_function_is_warmed_up_reads_copies_and_gives_a_copy(monkeypatch):
    """With streams and graphs that do nothing: capture is a plain call, and a replay is another."""
    calls = []

    class Stream:
        def __init__(self, *_: object) -> None: ...
        def wait_stream(self, other: object) -> None: ...

    class Nothing:
        def __init__(self, *_: object, **__: object) -> None: ...
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    class Graph:
        def replay(self) -> None:
            captured.outputs.copy_(function(*captured.inputs))

    def function(x: Tensor, t: Tensor) -> Tensor:
        calls.append(float(t))
        return twice(x, t)

    for name, kind in {"Stream": Stream, "current_stream": Stream, "stream": Nothing, "graph": Nothing}.items():
        monkeypatch.setattr(torch.cuda, name, kind)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    x, t = torch.ones(1, 3, 2, 2).contiguous(memory_format=torch.channels_last), torch.tensor(1)
    captured = Captured(function, x, t)
    assert len(calls) == gpu.WARM_UPS + 1 and captured.inputs[0] is not x
    assert captured.inputs[0].is_contiguous(memory_format=torch.channels_last)
    first = captured(x, torch.tensor(5))
    second = captured(torch.zeros(1, 3, 2, 2), torch.tensor(7))
    assert first.eq(7).all() and second.eq(7).all() and first is not second and x.eq(1).all()
    captured(x, torch.tensor(0))
    assert second.eq(7).all(), "a later replay does not change a result"


def test_the_prior_runs_as_one_graph_a_shape_and_gives_the_same_bits(made, tiny_prior):
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        prior = priors.load(tiny_prior)
        seen = [prior.estimate(x, level)[1] for level in (50, 7)] + [prior.estimate(x[:1], 7)[1]]
    assert [one[0] for one in made] == [torch.Size([2, 3, 16, 16]), torch.Size([1, 3, 16, 16])]
    gpu.can_capture = lambda _: False  # monkeypatch puts the switch back
    with torch.no_grad():
        plain = [prior.estimate(x, level)[1] for level in (50, 7)] + [prior.estimate(x[:1], 7)[1]]
    assert all(a.equal(b) for a, b in zip(seen, plain, strict=True))


on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@on_gpu
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_a_graph_on_a_gpu_gives_what_the_network_gives(tiny_prior, monkeypatch, caplog, precision):
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)).cuda()
    prior = priors.load(tiny_prior, device="cuda", precision=precision)
    with torch.no_grad():
        graphs = [prior.estimate(x, level)[1] for level in (50, 7, 50)]
        monkeypatch.setattr(gpu, "can_capture", lambda _: False)
        plain = [prior.estimate(x, level)[1] for level in (50, 7)]
    assert not caplog.records, "the capture succeeded"
    assert graphs[0].equal(graphs[2]) and not graphs[0].equal(graphs[1])
    for a, b in zip(graphs, plain, strict=False):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@on_gpu
@pytest.mark.parametrize("network", ["cnn", "skip"])
@pytest.mark.parametrize("changes", [{}, {"steps_per_epoch": 2, "input_noise": 0.05}, {"holdout": 0.1}, {"ema": 0.0}])
def test_a_fit_on_a_gpu_gives_what_it_gives_without_graphs(tmp_path, monkeypatch, caplog, network, changes):
    """With a store the next block begins ahead, and is undone at a commit. 45 epochs end in a block of five."""
    monkeypatch.setattr(callbacks, "COMMIT_RATE", math.inf)
    fitted = _fitted(network, changes, tmp_path / "graphs")
    assert not [record for record in caplog.records if "CUDA graph" in record.getMessage()], "the captures succeeded"
    monkeypatch.setattr(gpu, "can_capture", lambda _: False)
    plain = _fitted(network, changes, tmp_path / "plain")
    for column in COLUMNS:
        if column != "seconds":
            a, b = (torch.tensor(one.curves.column(column)) for one in (fitted, plain))
            torch.testing.assert_close(a, b, rtol=0.02, atol=1e-6, equal_nan=True)
    torch.testing.assert_close(fitted.picture, plain.picture, rtol=0, atol=0.01)


@on_gpu
def test_a_fit_that_began_on_a_processor_goes_on_as_a_graph(tmp_path, caplog):
    _fitted("cnn", {}, tmp_path, "cpu", 20)
    loss = _fitted("cnn", {}, tmp_path, "cuda").curves.column("loss_noisy")
    assert len(loss) == 45 and loss[44] < loss[19]
    assert not [record for record in caplog.records if "CUDA graph" in record.getMessage()]


def _fitted(network: str, changes: dict[str, Any], store: Path, device: str = "cuda", epochs: int = 45):
    problem = dd.degrade(dd.read_picture("astronaut", size=32), noise=dd.Gaussian(25))
    small = {"layers": 2, "channels": 8, "final_relu": False, "lr": 5e-3, "precision": "fp32"}
    settings = DipSettings(**{"network": network, **small, "max_epochs": epochs, **changes})
    return dd.fit_dip(problem, settings=settings, stopping="never", device=device, store=store).pictures[0]
