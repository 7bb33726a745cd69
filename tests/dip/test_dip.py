"""The LightningModule and its trajectory: what is learnt, what is kept, what a resumed fit gives."""

import gc
import json
import math
import os
import signal
import time
import weakref
from dataclasses import replace
from multiprocessing import active_children

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import Callback
from safetensors.torch import load_file
from support import dips
from torch.nn.functional import mse_loss

from dipddpm.degradation.masks import Mask
from dipddpm.degradation.scaling import Downscale
from dipddpm.dip import fitting, networks, writing
from dipddpm.dip.block import Block
from dipddpm.dip.callbacks import WholeFile
from dipddpm.dip.curves import COLUMNS
from dipddpm.dip.fitting import RunSettings
from dipddpm.dip.keeping import Memory
from dipddpm.dip.kept import Entry, Kept
from dipddpm.dip.module import DeepImagePrior
from dipddpm.dip.settings import DipSettings
from dipddpm.dip.stopping import Stop, Stopping
from dipddpm.dip.tracking import Charts
from dipddpm.fits import FitStore
from dipddpm.fits.keeping import FolderKeeper

SMALL = DipSettings(layers=1, channels=8, lr=5e-3, ema=0)
SKIP = {"network": "skip", "layers": 2, "final_relu": False}


def problem(size=(17, 19)):
    x = dips.clean(size=size)
    return x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)), x


def dip(*pictures, operator=None, seed=0, content="c", **settings):
    """A small DIP of these pictures, y first; of the problem's where there are none."""
    return DeepImagePrior(
        *(pictures or problem()), operator=operator, settings=replace(SMALL, **settings), seed=seed, contents=[content]
    )


def fit(store, epochs, rule=lambda curves: None, **settings):
    """Make or extend a fit to ``epochs``; each call builds everything anew, as another process would."""

    def wanted(fit):
        return fit if fit.epochs >= epochs or rule(fit.curves) else None

    def work(folder, key, before):
        how = RunSettings(panel_every=50)
        fitting.run(dip(**settings), [FolderKeeper(folder, key, "c", before)], [rule], epochs, how)

    return store.obtain({"version": 1, **settings}, wanted, work)[0]


@pytest.fixture
def store(tmp_path):
    return FitStore(tmp_path / "a")


def test_the_loss_falls_and_curves_and_kept_epochs_are_complete(store):
    made = fit(store, 60)
    loss = made.curves.column("loss_noisy")
    assert len(loss) == 60
    assert loss[-1] < 0.3 * loss[0]
    assert sorted(made.kept) == [10, 20, 30, 40, 50, 60]


def test_a_row_belongs_to_the_weights_before_its_step_and_the_picture_to_those_after(store):
    made = fit(store, 21)
    noisy, clean = problem()
    picture = made.picture(20)
    assert mse_loss(picture, noisy).item() == pytest.approx(made.curves.column("loss_noisy")[20], rel=1e-6)
    assert mse_loss(picture, clean).item() == pytest.approx(made.curves.column("loss_clean")[20], rel=1e-6)
    assert made.kept[20] == pytest.approx(made.curves.column("psnr")[20], abs=1e-4)
    assert 21 in made.kept, "the last epoch is kept too, also between two tens"


@pytest.mark.parametrize("network", [{}, SKIP], ids=["cnn", "skip"])
def test_a_kept_picture_is_the_forward_pass_of_the_weights_beside_it(store, network):
    made = fit(store, 20, **network)
    tensors = load_file(made.epoch_file(20))
    module = dip(**network)
    module.net.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("net.")})
    assert torch.equal(module.render(), made.picture(20))


def fitted(module, epochs=20):
    """Run a fit in memory; return its keeper."""
    keeper = Memory()
    fitting.run(module, [keeper], [lambda curves: None], epochs)
    return keeper


def column_of(keeper, column="loss_noisy"):
    assert keeper.trajectory is not None
    return keeper.trajectory.curves.column(column)


def test_what_a_missing_pixel_holds_is_never_learnt():
    noisy, clean = problem()
    known = torch.rand(1, 1, *noisy.shape[-2:], generator=torch.Generator().manual_seed(1)) > 0.5
    outputs = []
    for hidden in (noisy, 5 + noisy, clean):
        module = dip(torch.where(known, noisy, hidden), clean, operator=Mask(known=known))
        keeper = fitted(module, 21)
        outputs.append(keeper.picture(20))
        at_known = (keeper.picture(20) - noisy)[known.expand_as(noisy)]
        assert column_of(keeper)[20] == pytest.approx(at_known.square().mean().item(), rel=1e-5)
    assert torch.equal(outputs[0], outputs[1]) and torch.equal(outputs[0], outputs[2])
    everything = fitted(dip(noisy, clean, operator=Mask(known=torch.ones_like(known))), 10)
    assert column_of(everything)[0] == pytest.approx(column_of(fitted(dip(noisy, clean), 10))[0], rel=1e-6)


def test_of_a_smaller_picture_its_means_alone_are_learnt():
    noisy, clean = problem((16, 18))
    a = Downscale(2)
    losses = []
    for other in (noisy, clean):
        keeper = fitted(dip(a.replace(other, a.measure(noisy)), clean, operator=a), 21)
        losses.append(column_of(keeper))
        means = a.measure(keeper.picture(20) - noisy)
        assert losses[-1][20] == pytest.approx(means.square().mean().item(), rel=1e-5)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4) and losses[0][-1] < 0.9 * losses[0][0]


def test_the_kept_picture_is_the_average_of_the_outputs_so_far():
    every = dip(checkpoint_every=1, ema=0)
    outputs = [every.render()] + [fitted(dip(checkpoint_every=1), n).picture(n) for n in range(1, 10)]
    averaged = fitted(dip(ema=0.8), 20)
    weights = torch.tensor([0.8**k for k in range(9, -1, -1)])
    expected = (weights[:, None, None, None] * torch.cat(outputs)).sum(0) / weights.sum()
    assert torch.allclose(averaged.picture(10)[0], expected, atol=1e-6)
    plain = fitted(dip(), 20)
    assert column_of(averaged).tolist() == column_of(plain).tolist(), "curves see each epoch's own output"
    assert all(
        torch.equal(a, b) for a, b in zip(averaged.weights(20).values(), plain.weights(20).values(), strict=True)
    )


@pytest.mark.parametrize("network", [{"input_noise": 0.05, "ema": 0.9}, SKIP], ids=["cnn", "skip"])
def test_a_stack_of_fits_gives_what_each_gives_alone(network):
    noisy, clean = (torch.cat([one, one.flip(3), 1 - one]) for one in problem())
    known = torch.rand(3, 1, *noisy.shape[-2:], generator=torch.Generator().manual_seed(1)) > 0.2
    network = {"final_relu": False, **network}
    settings, contents = replace(SMALL, **network), ("a", "b", "c")
    alone = [
        fitted(dip(noisy[i : i + 1], clean[i : i + 1], operator=Mask(known=known[i : i + 1]), content=contents[i],
                   **network), 20)
        for i in range(3)
    ]  # fmt: skip
    stack = DeepImagePrior(noisy, clean, operator=Mask(known=known), settings=settings, contents=contents)
    keepers = [Memory() for _ in contents]
    fitting.run(stack, keepers, [lambda curves: None] * 3, 20)
    for one, both in zip(alone, keepers, strict=True):
        assert torch.allclose(both.picture(10), one.picture(10), atol=2e-4)
        assert column_of(both)[:10].tolist() == pytest.approx(column_of(one)[:10].tolist(), rel=1e-3)
        assert both.weights(10).keys() == one.weights(10).keys()
        assert both.trajectory is not None and both.trajectory.environments[0]["batch"] == 3


def test_weights_that_need_no_gradient_stay_as_they_are_in_a_stack():
    nets = [torch.nn.Conv2d(3, 3, 1) for _ in range(2)]
    for net in nets:
        net.weight.requires_grad_(False)
    stack = networks.Stacked(nets)
    trained = [p for p in stack.parameters() if p.requires_grad]
    assert [p.shape for p in trained] == [(2, 3)], "the two biases"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"input_noise": 0.05, "ema": 0.9},
        {"steps_per_epoch": 3},
        {"precision": "bf16"},
        SKIP | {"ema": 0.9},
        SKIP | {"precision": "bf16"},
        {"holdout": 0.1, "loss": "l1", "ema": 0.9},
    ],
)
def test_a_resumed_fit_is_bit_equal_to_an_uninterrupted_one(tmp_path, options):
    whole = fit(FitStore(tmp_path / "whole"), 47, **options)
    parts = FitStore(tmp_path / "parts")
    fit(parts, 20, **options)
    fit(parts, 33, **options)
    resumed = fit(parts, 47, **options)
    assert torch.equal(resumed.picture(47), whole.picture(47))
    for name in ("loss_noisy", "psnr", "window_variance", "moving_variance", "holdout"):
        assert resumed.curves.column(name).tolist() == pytest.approx(
            whole.curves.column(name).tolist(), rel=0, abs=0, nan_ok=True
        )


def test_resuming_carries_the_ring_buffer_of_the_windowed_variance(tmp_path):
    whole = fit(FitStore(tmp_path / "whole"), 125)
    parts = FitStore(tmp_path / "parts")
    fit(parts, 90)
    resumed = fit(parts, 125)
    assert not math.isnan(whole.curves.column("window_variance")[110])
    assert (
        resumed.curves.column("window_variance")[99:].tolist() == whole.curves.column("window_variance")[99:].tolist()
    )


def test_the_fit_stops_where_the_rule_fires_and_a_number_beyond_extends_it(store):
    rule = Stopping("loss_floor", threshold=0.02)
    made = fit(store, 500, rule)
    stop = rule(made.curves)
    assert stop is not None
    assert made.epochs - 10 < stop.fired_at <= made.epochs < 500, "it is asked every ten epochs"
    longer = fit(store, made.epochs + 10)
    assert longer.epochs == made.epochs + 10
    assert rule(longer.curves) == stop


def test_hyperparameters_are_builtins_and_the_state_loads_without_pickle(store):
    made = fit(store, 10)
    state = torch.load(made.state, weights_only=True)
    assert {type(v) for v in state["hyper_parameters"].values()} <= {int, float, str, bool}
    assert state["dip"]["epochs"] == 10


def last_of(module):
    last = networks.last_layer(module.net)
    assert last is not None
    return last


@torch.no_grad()
def kill(conv: torch.nn.Conv2d, channel: int):
    """Make a channel of the output zero everywhere."""
    conv.weight[channel].zero_()
    assert conv.bias is not None
    conv.bias[channel] = -1


def test_a_channel_that_dies_later_is_an_error_that_names_it():
    module = dip()
    networks.revive(module.net, last_of(module), module.z, torch.Generator().manual_seed(0))
    kill(last_of(module), channel=1)
    assert networks.dead_channels(module(module.z)) == [1]
    with pytest.raises(RuntimeError, match=r"output's green died at epoch 1 .* learning rate 0.005: try a smaller"):
        fitted(module)


def test_a_channel_whose_answer_is_zero_may_be_zero():
    noisy, clean = problem()
    for picture in (noisy, clean):
        picture[:, 0] = 0
    module = dip(noisy, clean)
    kill(last_of(module), channel=0)
    assert column_of(fitted(module, 10))[0] > 0


def test_a_fit_that_diverges_says_at_which_epoch_and_its_neighbours_in_a_stack_go_on():
    noisy, clean = problem()
    with pytest.raises(RuntimeError, match=r"the fit diverged at epoch 2,.* learning rate 0.005: try a smaller dip.lr"):
        fitted(dip(noisy * torch.nan, clean))
    pictures = torch.cat([noisy] * 3)
    stack = DeepImagePrior(pictures, None, settings=SMALL, contents=["a", "b", "c"])
    with torch.no_grad():
        stack.net.get_parameter("stacked.0")[1] = torch.nan
    keepers = [Memory() for _ in range(3)]
    fitting.run(stack, keepers, [lambda curves: None] * 3, 20)
    assert [keeper.trajectory is None for keeper in keepers] == [False, True, False]
    assert list(stack.errors) == [1] and "not finite before the first step" in str(stack.errors[1])


def test_steps_per_epoch_are_optimiser_steps(tmp_path):
    one = fit(FitStore(tmp_path / "one"), 30)
    three = fit(FitStore(tmp_path / "three"), 10, steps_per_epoch=3)
    assert torch.equal(one.picture(30), three.picture(10))
    assert three.curves.column("loss_noisy")[1] == one.curves.column("loss_noisy")[3]


def test_seed_and_content_choose_input_and_weights():
    a = dip()
    for b in (dip(seed=1), dip(content="d")):
        assert not torch.equal(a.z, b.z)
        assert not torch.equal(next(a.net.parameters()), next(b.net.parameters()))
    assert a.z.min() >= 0 and a.z.max() <= 1


def test_a_rule_that_fires_at_once_still_leaves_a_first_kept_epoch(store):
    rule = Stopping("loss_floor", threshold=1e9)
    made = fit(store, 25, rule)
    assert (made.epochs, list(made.kept)) == (10, [10])


def test_the_best_picture_so_far_is_that_of_all_kept_epochs(store, monkeypatch):
    made, shown = fit(store, 30), []
    monkeypatch.setattr("dipddpm.dip.tracking.log_pictures", lambda *args: shown.append(args[2]))
    keeper = FolderKeeper(made.folder, made.key, "c", None)
    y, a, b = (torch.full((1, 3, 4, 4), value) for value in (0.1, 0.2, 0.3))
    row: dict[str, float] = {name: 1.0 for name in COLUMNS}
    charts = Charts(keeper, 20, {"noisy": y}, 30, (20, 22.0))
    for epoch, psnr, picture in [(40, 21.0, a), (50, 23.0, b), (60, 20.0, a), (61, 20.0, b)]:
        charts.write(Entry(epoch, [row], psnr, last=epoch == 61), {}, picture)
    charts.close()
    assert [sorted(one) for one in shown] == [["best", "noisy", "output"], ["best", "output"], ["best", "output"]]
    assert torch.equal(shown[0]["best"], made.picture(20)), "the best one of an earlier process"
    assert torch.equal(shown[1]["best"], b), "that of an epoch between two grids"
    charts = Charts(keeper, 10, {}, 30, None)
    charts.write(Entry(40, [row], None, last=False), {}, a)
    charts.close()
    assert list(shown[-1]) == ["output"], "no PSNR, no best one"


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Let fits begin blocks ahead, and write in forked processes, as they do on a GPU."""
    opened, ahead = writing.opened, DeepImagePrior.block_end
    monkeypatch.setattr(DeepImagePrior, "_ahead", lambda module, end: ahead(module, end) - end)
    monkeypatch.setattr(writing, "opened", lambda makers, like, beside: opened(makers, like, beside=True))


@pytest.mark.parametrize(
    "more", [{"ema": 0.8, "input_noise": 0.1, "steps_per_epoch": 2}, {"ema": 0, "holdout": 0.1, **SKIP}]
)
def test_a_fit_whose_blocks_are_begun_ahead_and_written_by_others_has_the_same_bits(tmp_path, request, more):
    """It stops by its rule, is killed between two commits, and is extended."""

    def killed(curves):
        if len(curves) == 30:
            raise KeyError("killed")

    def fits(folder):
        store = FitStore(tmp_path / folder)
        stopped = fit(store, 90, lambda curves: Stop(18, 20) if len(curves) >= 20 else None, **more)
        with pytest.raises(KeyError):
            fit(store, 40, killed, **more)
        return stopped, fit(store, 45, **more)

    plain, last = fits("plain"), ()
    request.getfixturevalue("as_on_a_gpu")
    for one, other in zip(fits("ahead"), plain, strict=True):
        assert one.epochs == other.epochs and one.kept == other.kept
        for column in ("loss_noisy", "psnr", "moving_variance"):
            assert one.curves.column(column).tolist() == other.curves.column(column).tolist()
        for epoch in one.kept:
            a, b = (load_file(made.epoch_file(epoch)) for made in (one, other))
            assert all(torch.equal(tensor, b[name]) for name, tensor in a.items())
        last = one, other
    a, b = (torch.load(made.state, weights_only=True) for made in last)
    assert torch.equal(a["dip"]["windowed"]["ring"], b["dip"]["windowed"]["ring"])
    assert torch.equal(a["dip"]["input_generator"], b["dip"]["input_generator"])
    assert all(map(torch.equal, a["state_dict"].values(), b["state_dict"].values()))
    assert plain[1].epochs == 45 and not active_children()


def test_what_stops_a_writer_stops_the_fit(store, as_on_a_gpu, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dipddpm.fits.manifest.write_epoch", full)
    with pytest.raises(OSError, match="No space left"):
        fit(store, 40)
    monkeypatch.setattr("dipddpm.fits.manifest.write_epoch", lambda *_: os.kill(os.getpid(), 9))
    with pytest.raises(RuntimeError, match="has ended: start it again"):
        fit(store, 40)
    assert not active_children()


class Echo:
    """A part whose answers are larger than the buffer of a pipe."""

    def write(self, entry, weights, picture):
        return bytes(4_000_000)

    def close(self): ...


class Refusal(Exception):
    def __init__(self, file, why):
        super().__init__(f"{file}: {why}")


def refused():
    raise Refusal("events", "no room")


LIKE = Kept(torch.zeros(1, 3, 2, 2), {"w": torch.zeros(1, 1)})


def test_large_answers_and_large_messages_do_not_wait_for_each_other(monkeypatch):
    def late(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    try:
        entry = Entry(10, [{str(i): float(i) for i in range(100_000)}], None, last=False)
        with writing.opened([(0, Echo)], LIKE, beside=True) as writer:
            answers = [answer for _ in range(9) for answer in writer.write({0: entry}, LIKE)]
            answers += writer.wait()
        assert len(answers) == 9
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_a_writer_that_cannot_begin_says_why():
    """Its exception cannot be unpickled."""
    with pytest.raises(RuntimeError, match="Refusal: events: no room"):
        with writing.opened([(0, refused)], LIKE, beside=True) as writer:
            writer.write({}, LIKE)
            writer.wait()
    assert not active_children()


def test_states_that_take_long_are_stored_seldom_and_a_kill_between_two_changes_nothing(tmp_path, monkeypatch):
    whole = fit(FitStore(tmp_path / "whole"), 40)
    save, saved = WholeFile.save_checkpoint, []

    def slow(self, checkpoint, path, storage_options=None):
        time.sleep(0.5)
        saved.append(path.name)
        save(self, checkpoint, path, storage_options)

    def killed(curves):
        if len(curves) == 40:
            raise KeyError("killed")

    monkeypatch.setattr(WholeFile, "save_checkpoint", slow)
    store = FitStore(tmp_path / "slow")
    with pytest.raises(KeyError):
        fit(store, 40, killed)
    assert saved == ["state-000010.ckpt"]
    (key,) = store.keys()
    before = store.find(key)
    assert before is not None and list(before.kept) == [10], "20 and 30 lie there, and nothing names them"
    made = fit(store, 40)
    assert saved == ["state-000010.ckpt", "state-000020.ckpt", "state-000040.ckpt"]
    assert torch.equal(made.picture(40), whole.picture(40)) and made.kept == whole.kept


def test_a_fit_says_from_which_epoch_on_it_was_made_how(store):
    fit(store, 20)
    threads = torch.get_num_threads()
    fit(store, 30)
    try:
        torch.set_num_threads(threads + 1)
        made = fit(store, 40)
    finally:
        torch.set_num_threads(threads)
    assert [(e["from_epoch"], e["threads"]) for e in made.environments] == [(1, threads), (31, threads + 1)]
    manifest = json.loads((made.folder / "manifest.json").read_text())
    assert manifest["environments"] == made.environments


def test_the_manifest_names_every_file_it_needs(store):
    made = fit(store, 20)
    files = [p for p in made.folder.rglob("*") if p.is_file() and not p.name.startswith("events.out")]
    there = {str(p.relative_to(made.folder)) for p in files}
    named = json.loads((made.folder / "manifest.json").read_text())["files"]
    assert there - {"manifest.json"} == set(named)
    assert made.state.is_file() and made.seconds > 0


class Captured:
    """Stands for `dipddpm.gpu.Captured`: a replay calls the function."""

    def __init__(self, function, example):
        self.function, self.example = function, example
        for _ in range(3):
            self.replay()

    def replay(self):
        self.outputs = self.function(self.example)


def captures(monkeypatch):
    """Let this processor take itself for a GPU."""
    monkeypatch.setattr("dipddpm.gpu.can_capture", lambda tensor: True)
    monkeypatch.setattr("dipddpm.gpu.Captured", Captured)


@pytest.mark.parametrize("every", [1, 10])
def test_captured_steps_change_nothing_but_their_speed(monkeypatch, every):
    """The capture runs steps to warm up. Here a replay calls the captured function."""
    settings = {"input_noise": 0.05, "ema": 0.9, "steps_per_epoch": 2, "checkpoint_every": every}
    plain = fitted(dip(**settings), 24)

    captures(monkeypatch)
    captured = fitted(dip(**settings), 24)
    assert torch.equal(captured.picture(20), plain.picture(20))
    for column in COLUMNS:
        if column != "seconds":
            values, expected = (np.nan_to_num(column_of(of, column)) for of in (captured, plain))
            assert values.tolist() == expected.tolist(), column

    def refused(function, example):
        function(example)
        raise RuntimeError("an operation that is not permitted\nin a capture")

    monkeypatch.setattr("dipddpm.gpu.Captured", refused)
    assert torch.equal(fitted(dip(**settings), 24).picture(20), plain.picture(20))


def test_a_fit_in_memory_undoes_no_block_that_the_gpu_has_begun(monkeypatch):
    """Its commits are many, and store no state."""
    captures(monkeypatch)
    begun, settled, begin, settle = [], [], Block._begin, Block.settle
    monkeypatch.setattr(Block, "_begin", lambda self, epochs: begun.append(epochs) or begin(self, epochs))
    monkeypatch.setattr(Block, "settle", lambda self: settled.append(self.begun) or settle(self))
    module = dip()
    keeper = Memory()
    fitting.run(module, [keeper], [lambda curves: Stop(60, 60) if len(curves) >= 60 else None], 100)
    assert begun == [10] * 7 and [end is not None for end in settled] == [True], "one block more, undone at the end"
    for name, weights in module.net.state_dict().items():
        assert torch.equal(weights, keeper.weights(60)[name])


def test_an_ended_fit_leaves_no_graphs_and_no_buffers(monkeypatch):
    """Module and Trainer hold each other: without a collection of garbage they live on."""
    captures(monkeypatch)
    blocks, capture = [], Block._capture
    monkeypatch.setattr(Block, "_capture", lambda self: blocks.append(weakref.ref(self)) or capture(self))
    gc.disable()
    try:
        fitted(dip(), 20)
        assert len(blocks) == 1 and blocks[0]() is None
    finally:
        gc.enable()


def test_a_learning_rate_that_a_callback_changes_holds_in_graphs_too(monkeypatch):
    class Slower(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            trainer.optimizers[0].param_groups[0]["lr"] /= 2

    def falling():
        keeper, options = Memory(), RunSettings(trainer={"callbacks": [Slower()]})
        fitting.run(dip(), [keeper], [lambda curves: None], 40, options)
        return column_of(keeper)

    plain, captured = falling(), []
    captures(monkeypatch)
    capture = Block._capture

    def noted(self):
        captured.append(self.optimizer.param_groups[0]["lr"])
        capture(self)

    monkeypatch.setattr(Block, "_capture", noted)
    assert falling().tolist() == plain.tolist()
    assert captured == [SMALL.lr / 2**k for k in range(4)], "a graph has its learning rate as a constant"


def test_the_optimiser_of_a_fit_is_capturable_where_the_fit_goes_on():
    """The state of a fit has the flag of the device on which it was stored."""
    module = dip()
    adam = torch.optim.Adam(module.net.parameters(), fused=True, capturable=True)
    Block(module, adam)
    assert [group["capturable"] for group in adam.param_groups] == [False]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_fit_in_a_callers_autocast_is_the_same_fit(precision):
    """Autocast would keep the weights that it cast in the first step, and the fit would learn nothing."""
    plain = fitted(dip(precision=precision), 20)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fitted(dip(precision=precision), 20).picture(20), plain.picture(20))


def test_the_bytes_of_a_state_are_known_before_it_is_stored(store):
    assert dip(channels=64).state_bytes() == pytest.approx(fit(store, 10, channels=64).state.stat().st_size, rel=0.1)


def test_a_stack_that_is_too_large_for_its_graphs_is_told_so(monkeypatch):
    """A smaller stack is tried then (`dipddpm.fits.stacks`). One fit goes on without graphs."""

    def full(function, example):
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr("dipddpm.gpu.can_capture", lambda tensor: True)
    monkeypatch.setattr("dipddpm.gpu.Captured", full)
    assert fitted(dip(), 10).trajectory is not None
    stack = DeepImagePrior(torch.rand(2, 3, 8, 8), settings=SMALL, contents=["a", "b"])
    with pytest.raises(torch.cuda.OutOfMemoryError):
        fitting.run(stack, [Memory(), Memory()], [lambda curves: None] * 2, 10)
