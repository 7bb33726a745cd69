"""The store of fits: written whole or not at all, verified when read, made once."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support import ROOT

import dipddpm as dd
from dipddpm.dip.curves import Curves
from dipddpm.dip.keeping import Trajectory
from dipddpm.errors import UserError
from dipddpm.fits import Damaged, FitStore, fit_key, manifest
from dipddpm.fits.__main__ import main

REQUEST = {"version": 1, "pixels": "ab" * 8, "size": [5, 7], "degrade": {"kind": "gaussian", "sigma": 25.0},
           "dip": {"network": "cnn", "layers": 4, "channels": 8}, "seed": 0}  # fmt: skip
ROW = {"loss_noisy": 0.1, "loss_clean": 0.2, "psnr": 20.0, "lr": 1e-3, "seconds": 0.01,
       "window_variance": float("nan"), "moving_variance": 1e-4}  # fmt: skip


def picture(epoch):
    return torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(epoch))


def work_until(epochs, calls=None):
    """Something that writes a trajectory as the real fit does, every second epoch, without a network."""

    def work(folder, key, before):
        if calls is not None:
            calls.append(before.epochs if before else 0)
        curves = before.curves if before else Curves()
        kept = dict(before.kept) if before else {}
        for epoch in range(len(curves) + 1, epochs + 1):
            curves.append(**ROW | {"loss_noisy": 1 / epoch})
            if epoch % 2 == 0 or epoch == epochs:
                manifest.write_epoch(folder, epoch, {"w": torch.full((3,), float(epoch))}, picture(epoch), "pixels")
                (folder / manifest.state_name(epoch)).write_bytes(b"state")
                kept[epoch] = 20.0 + epoch
                so_far = Trajectory(curves, kept, 1.0, 0, [{"from_epoch": 1, "threads": 1}])
                manifest.commit(folder, key, so_far)

    return work


def long_enough(epochs):
    return lambda fit: fit.epochs if fit.epochs >= epochs else None


@pytest.fixture
def store(tmp_path):
    return FitStore(tmp_path / "fits")


def test_a_fit_is_made_once_then_found_then_extended(store):
    calls = []
    _, chosen, made = store.obtain(REQUEST, long_enough(4), work_until(4, calls))
    assert (chosen, made) == (4, True)
    fit, _, made = store.obtain(REQUEST, long_enough(3), work_until(4, calls))
    assert not made
    assert sorted(fit.kept) == [2, 4]
    fit, _, made = store.obtain(REQUEST, long_enough(7), work_until(7, calls))
    assert made
    assert calls == [0, 4], "the second call goes on from what is stored"
    assert sorted(fit.kept) == [2, 4, 6, 7]
    assert torch.equal(fit.picture(4), picture(4))
    assert fit.curves.column("loss_noisy")[6] == pytest.approx(1 / 7)
    assert not list(fit.folder.glob("curves-000004*")), "what the newer manifest replaces is gone"


def test_any_other_request_is_another_fit():
    keys = {fit_key(REQUEST), fit_key(REQUEST | {"seed": 1}), fit_key(REQUEST | {"size": [7, 5]})}
    keys.add(fit_key(REQUEST | {"dip": REQUEST["dip"] | {"layers": 5}}))
    assert len(keys) == 4
    assert fit_key(dict(reversed(REQUEST.items()))) == fit_key(REQUEST)
    assert fit_key(REQUEST) == "0aabfa17ef06cfa4"


@pytest.mark.parametrize("name", ["manifest.json", "fit.json", "curves-*.npz", "state-*.ckpt", "epochs/000002*"])
@pytest.mark.parametrize("how", ["truncated", "altered", "no text", "deep", "folder", "pipe", "loop", "missing"])
def test_a_damaged_fit_is_reported_and_made_again(store, name, how, caplog, capsys):
    fit, _, _ = store.obtain(REQUEST, long_enough(4), work_until(4))
    (path,) = fit.folder.glob(name)
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "no text":
        path.write_bytes(b"\xff" + content[1:])
    elif how == "altered":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif how == "deep":
        path.write_text("[" * 100_000)
    else:
        path.unlink()
    if how == "folder":
        (path / "full").mkdir(parents=True)
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "loop":
        path.symlink_to(path)
    gone = name == "manifest.json" and how == "missing"  # then nothing was ever committed
    if not gone:
        with pytest.raises(Damaged):
            store.find(fit.key)
        assert main(["list", "--store", str(store.root)]) == main(["show", fit.key, "--store", str(store.root)]) == 0
        assert " damaged" in capsys.readouterr().out
    calls = []
    fit, _, made = store.obtain(REQUEST, long_enough(4), work_until(4, calls))
    assert made
    assert calls == [0]
    assert torch.equal(fit.picture(2), picture(2))
    assert gone or "made again" in caplog.text


def test_a_passing_read_error_is_no_damage(store, monkeypatch):
    calls = []
    fit, *_ = store.obtain({"seed": 0}, long_enough(6), work_until(6, calls))

    def too_many(path):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))

    with monkeypatch.context() as patched:
        patched.setattr(manifest, "facts", too_many)
        with pytest.raises(OSError, match="Too many open files"):
            store.obtain({"seed": 0}, long_enough(6), work_until(6, calls))
    again, _, made = store.obtain({"seed": 0}, long_enough(6), work_until(6, calls))
    assert not made and len(calls) == 1 and again.epochs == fit.epochs == 6


def test_what_is_for_people_fails_no_job(store, caplog):
    fit, *_ = store.obtain({"seed": 0}, long_enough(6), work_until(6))
    for name in ("uses.txt", "summary.json"):
        (fit.folder / name).mkdir()  # as little to be written as in a store that is read-only
    store.record_use(fit.key, fit.folder)
    store.record_summary(fit.key, {"peak": 3})
    assert caplog.text.count("could not be written") == 2


def test_a_kill_between_files_leaves_the_fit_before(store):
    fit, _, _ = store.obtain(REQUEST, long_enough(4), work_until(4))
    manifest.write_epoch(fit.folder, 6, {"w": torch.zeros(3)}, picture(0), "pixels")  # and then the process died
    (fit.folder / manifest.state_name(6)).write_bytes(b"newer state")
    again = store.find(fit.key)
    assert again is not None
    assert sorted(again.kept) == [2, 4]
    calls = []
    fit, _, _ = store.obtain(REQUEST, long_enough(6), work_until(6, calls))
    assert calls == [4]
    assert torch.equal(fit.picture(6), picture(6)), "the orphan was written anew"


def test_a_reader_beside_an_extending_writer_never_sees_damage(store):
    fit, _, _ = store.obtain(REQUEST, long_enough(2), work_until(2))
    done = threading.Event()

    def extend():
        try:
            for n in range(4, 80, 2):
                store.obtain(REQUEST, long_enough(n), work_until(n))
        finally:
            done.set()

    thread = threading.Thread(target=extend)
    thread.start()
    seen = set()
    while not done.is_set():
        seen.add(store.find(fit.key).epochs)
    thread.join()
    assert len(seen) > 1 and store.find(fit.key).epochs == 78


def test_two_callers_make_one_fit(store):
    calls = []

    def slow(folder, key, before):
        time.sleep(0.3)
        work_until(4, calls)(folder, key, before)

    threads = [
        threading.Thread(target=lambda: made.append(FitStore(store.root).obtain(REQUEST, long_enough(4), slow)[2]))
        for _ in range(3)
    ]
    made = []
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert calls == [0]
    assert sorted(made) == [False, False, True]


def test_the_lock_of_a_killed_process_frees_itself(store):
    code = (
        f"import sys, time; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path; from dipddpm.fits import FitStore\n"
        f"with FitStore(Path({str(store.root)!r})).lock('k'): print('held', flush=True); time.sleep(60)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "held\n"
    with pytest.raises(Exception, match="lock"), store.lock("k", wait=False):
        pass
    owner.kill()
    owner.wait()
    owner.stdout.close()
    with store.lock("k", wait=False):
        pass


def test_a_root_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="store=.*/file/fits cannot be written .*: type store=<folder>"):
        FitStore(tmp_path / "file/fits").remove("00ff")


def test_work_that_stays_too_short_is_an_error_not_a_loop(store):
    with pytest.raises(RuntimeError, match="too short"):
        store.obtain(REQUEST, long_enough(9), work_until(4))


def test_nearest_names_the_fit_with_the_fewest_differences(store):
    assert store.nearest(REQUEST) is None
    for layers, seed in ((6, 0), (8, 3)):
        other = REQUEST | {"dip": REQUEST["dip"] | {"layers": layers}, "seed": seed}
        store.obtain(other, long_enough(2), work_until(2))
    key, differ = store.nearest(REQUEST)
    assert key == fit_key(REQUEST | {"dip": REQUEST["dip"] | {"layers": 6}})
    assert differ == {"dip.layers": (6, 4)}


def test_runs_that_moved_with_their_store_still_use_its_fits(tmp_path):
    store = FitStore(tmp_path / "here/outputs/fits")
    fit, *_ = store.obtain(REQUEST, long_enough(2), work_until(2))
    (tmp_path / "here/outputs/run").mkdir()
    store.record_use(fit.key, tmp_path / "here/outputs/run")
    assert store.uses(fit.key) == [tmp_path / "here/outputs/run"], "once"
    (tmp_path / "here").rename(tmp_path / "there")
    moved = FitStore(tmp_path / "there/outputs/fits")
    assert moved.uses(fit.key) == [tmp_path / "there/outputs/run"]
    assert main(["gc", "--store", str(moved.root)]) == 0
    assert moved.keys() == [fit.key]
    (tmp_path / "there/outputs/run").rmdir()
    assert moved.uses(fit.key) == []


def test_a_folder_that_was_run_again_uses_the_fit_of_its_last_run_alone(store, tmp_path):
    first, second = (store.obtain(REQUEST | {"seed": s}, long_enough(2), work_until(2))[0] for s in (0, 1))
    run = tmp_path / "run"
    run.mkdir()
    for fit in (first, second):
        store.record_use(fit.key, run)
    assert store.uses(first.key) == store.uses(second.key) == [run], "it may have been killed before it said which"
    (run / "metrics.json").write_text(json.dumps({"fit": {"key": second.key}}))
    assert (store.uses(first.key), store.uses(second.key)) == ([], [run])
    (run / "metrics.json").write_text('{"result": {}}')
    assert store.uses(first.key) == store.uses(second.key) == [], "its last run started from none"
    (run / "metrics.json").write_text('{"fit"')
    assert store.uses(first.key) == [run]


def test_commands_list_show_remove_and_collect(store, tmp_path, capsys):
    used, _, _ = store.obtain(REQUEST, long_enough(2), work_until(2))
    unused, _, _ = store.obtain(REQUEST | {"seed": 1}, long_enough(2), work_until(2))
    damaged, _, _ = store.obtain(REQUEST | {"seed": 2}, long_enough(2), work_until(2))
    damaged.epoch_file(2).write_bytes(b"")
    (damaged.folder / "fit.json").write_text('{"di')
    (tmp_path / "run").mkdir()
    for fit in (used, damaged):
        store.record_use(fit.key, tmp_path / "run")
    at = ["--store", str(store.root)]
    assert main([*at, "show", used.key[:6]]) == 0
    shown = capsys.readouterr().out
    assert "best kept epoch 2: 22.00 dB" in shown
    assert str(tmp_path / "run") in shown
    assert main([*at, "list"]) == 0
    listed = capsys.readouterr().out
    assert "damaged" in listed
    assert "1 run " in listed and "0 runs " in listed
    assert main([*at, "show", "nothing"]) == 2
    assert (
        f"error: no fit in {store.root} begins with nothing: type python -m dipddpm.fits list --store"
        in capsys.readouterr().err
    )
    assert main([*at, "gc", "--days", "1"]) == 0
    assert len(store.keys()) == 3, "all are younger than a day"
    assert main([*at, "gc", "--dry-run"]) == 0
    assert len(store.keys()) == 3
    assert main([*at, "gc"]) == 0
    assert store.keys() == [used.key]
    capsys.readouterr()
    assert main([*at, "gc"]) == 0
    assert capsys.readouterr().out == f"nothing to remove in {store.root}\n"
    assert unused.folder.exists() is False


def listed(store, capsys, **changes):
    """Make a fit, and return its line of the list."""
    fit, *_ = store.obtain(REQUEST | changes, long_enough(2), work_until(2))
    assert main(["--store", str(store.root), "list"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if fit.key in line]
    return line


@pytest.mark.parametrize(("degraded", "said"), [
    ({"kind": "gaussian", "sigma": 12.5}, "gaussian 12.5"), ({"kind": "none"}, "given"),
    ({"kind": "gaussian", "sigma": 25.0, "correlation": 1.5}, "correlated 1.5px 25"),
    ({"kind": "poisson", "sigma": 10.0, "downscale": 4}, "1/4, poisson 10"),
    ({"kind": "gaussian", "sigma": 0.0, "mask": "ab"}, "holes"), ({"kind": "none", "downscale": 2}, "given, 1/2"),
])  # fmt: skip
def test_what_was_done_to_a_picture_tells_its_fits_apart(store, capsys, degraded, said):
    assert f"  {said}  " in listed(store, capsys, degrade=degraded)


LISTED = {
    "mask": (dd.Mask(0.5), "holes"), "downscale": (dd.Downscale(4), "1/4"), "sensing": (dd.Sensing(), "sensing"),
    "blur": (dd.Blur.motion(5), "motion blur"), "jpeg": (dd.Jpeg(10), "jpeg 10"), "clip": (dd.Clip(0.6), "clip 0.6"),
    "blur_downscale": (dd.BlurDownscale(dd.Blur.gaussian(1.0), 2), "gaussian blur + 1/2"),
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in dd.OPERATORS if name != "identity"])
def test_every_operator_tells_its_fits_apart(store, capsys, name):
    operator, said = LISTED[name]
    bound = operator.bind((16, 16), 0, "picture")
    assert f"  given, {said}  " in listed(store, capsys, degrade={"kind": "none", **bound.request()})


@pytest.mark.parametrize(("unusual", "said"), [
    ({"loss": "l1", "input_noise": 0.33, "holdout": 0.05}, "l1, noise 0.33, held out 5%"),
    ({"lr": 0.02, "ema": 0.0, "kernel_size": 5, "precision": "bf16"}, "kernel 5, lr 0.02, ema 0, bf16"),
])  # fmt: skip
def test_settings_that_are_not_usual_tell_fits_apart(store, capsys, unusual, said):
    assert f"  cnn 4x8, {said}  " in listed(store, capsys, dip=REQUEST["dip"] | unusual)


def test_the_store_may_be_named_before_and_after_the_command(store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fit, _, _ = store.obtain(REQUEST, long_enough(2), work_until(2))
    at = ["--store", str(store.root)]
    for arguments in ([*at, "list"], ["list", *at], ["show", *at, fit.key], ["show", fit.key, *at]):
        assert main(arguments) == 0
        assert fit.key in capsys.readouterr().out
    for name in ("gc", "rm"):
        assert main([name, *at, *([fit.key] if name == "rm" else ["--dry-run"])]) == 0
        assert fit.key in capsys.readouterr().out
    assert main(["list"]) == 0
    assert fit.key not in capsys.readouterr().out, "the store of the working folder"


def test_remove_wants_four_characters_and_force_for_what_runs_use(store, tmp_path, capsys):
    used, unused = (store.obtain(REQUEST | {"seed": s}, long_enough(2), work_until(2))[0] for s in (0, 1))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        store.record_use(used.key, tmp_path / name)
    at = ["--store", str(store.root)]
    both = {used.key, unused.key}
    assert main(["rm", *at, unused.key[:3]]) == 2
    assert f"rm {unused.key[:3]} is not allowed: type 4 or more characters" in capsys.readouterr().err
    assert main(["rm", *at, unused.key[:4], used.key]) == 2
    assert f"{used.key} is used by 2 runs: to remove it all the same, type --force" in capsys.readouterr().err
    assert set(store.keys()) == both, "refused before anything goes"
    (tmp_path / "two").rmdir()
    assert main(["rm", *at, used.key]) == 2
    assert f"{used.key} is used by 1 run:" in capsys.readouterr().err
    assert main(["rm", *at, unused.key[:4], unused.key]) == 0
    assert main(["rm", *at, used.key, "--force"]) == 0
    assert store.keys() == []


def test_a_store_without_fits_is_told_from_one_that_was_meant(tmp_path, capsys):
    assert main(["list", "--store", str(tmp_path / "none")]) == 0
    assert capsys.readouterr().out == f"no fits in {tmp_path / 'none'}: for another store, type --store <folder>\n"
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").touch()
    for command in ("list", "gc"):
        assert main([command, "--store", str(tmp_path / "file")]) == 2
        assert (
            capsys.readouterr().err
            == f"error: --store {tmp_path / 'file'} is no folder: type --store <folder of fits>\n"
        )


def test_a_fit_under_another_key_is_damaged(store):
    fit, *_ = store.obtain(REQUEST, long_enough(2), work_until(2))
    other = REQUEST | {"seed": 1}
    fit.folder.rename(store.folder(fit_key(other)))
    with pytest.raises(Damaged, match=f"holds the fit {fit.key}"):
        store.find(fit_key(other))
    assert store.obtain(other, long_enough(2), work_until(2))[2]


@pytest.mark.parametrize(
    "stands", ["epochs", "fit.json/", "summary.json/", "curves-000002.npz/", "uses.txt>", "hparams.yaml>", ">", ""]
)
def test_what_stands_in_the_way_of_a_fit_is_cleared_and_no_link_is_written_through(store, tmp_path, stands):
    folder, elsewhere = store.folder(fit_key(REQUEST)), tmp_path / "elsewhere"
    path = folder / stands.strip("/>")
    path.parent.mkdir(parents=True)
    if stands.endswith("/"):
        (path / "full").mkdir(parents=True)
    elif stands.endswith(">"):
        path.symlink_to(elsewhere)
    else:
        path.touch()

    def work(folder, key, before):
        store.record_use(key, tmp_path)
        with (folder / "hparams.yaml").open("w") as file:  # as Lightning's logger does
            file.write("{}")
        work_until(2)(folder, key, before)

    assert store.obtain(REQUEST, long_enough(2), work)[2]
    assert not elsewhere.exists()


def test_a_link_in_place_of_the_uses_is_not_followed(store, tmp_path, caplog):
    fit, *_ = store.obtain(REQUEST, long_enough(2), work_until(2))
    (tmp_path / "precious").write_text("precious")
    for how in (lambda path: path.symlink_to(tmp_path / "precious"), os.mkfifo):
        (fit.folder / "uses.txt").unlink(missing_ok=True)
        how(fit.folder / "uses.txt")
        store.record_use(fit.key, tmp_path)
    assert (tmp_path / "precious").read_text() == "precious"
    assert caplog.text.count("could not be written") == 2
    assert store.uses(fit.key) == [], "a pipe is no list"


@pytest.mark.parametrize("name", [b"a\nb", b"caf\xe9", "caf\u00e9".encode(), b"a\x0b\x1cb", b"\n"])
def test_a_run_in_a_folder_of_any_name_uses_its_fit(store, tmp_path, name):
    fit, *_ = store.obtain(REQUEST, long_enough(2), work_until(2))
    run = tmp_path / os.fsdecode(name)
    run.mkdir()
    store.record_use(fit.key, run)
    assert store.uses(fit.key) == [run]
    assert main(["gc", "--store", str(store.root)]) == 0
    assert store.keys() == [fit.key]


def test_a_flipped_bit_in_the_uses_hides_no_use_and_breaks_no_command(store, tmp_path, capsys):
    fit, *_ = store.obtain(REQUEST, long_enough(2), work_until(2))
    (tmp_path / "run").mkdir()
    store.record_use(fit.key, tmp_path / "run")
    path = fit.folder / "uses.txt"
    whole = path.read_bytes()
    for i in range(len(whole)):
        for bit in (0, 4, 7):
            path.write_bytes(whole[:i] + bytes([whole[i] ^ 1 << bit]) + whole[i + 1 :])
            found = store.uses(fit.key)
            assert tmp_path / "run" in found or i == whole.index(b"\n"), "one of both lines is left"
    path.write_bytes(b"/half/a/li")  # by a full disk
    store.record_use(fit.key, tmp_path / "run")
    assert path.read_bytes() == b"/half/a/li\n" + whole and store.uses(fit.key) == [tmp_path / "run"]
    path.write_bytes(b"x" * 5000 + b"\n\0\n\xff\n" + whole)
    assert store.uses(fit.key) == [tmp_path / "run"]
    assert main(["list", "--store", str(store.root)]) == 0
    assert "1 run " in capsys.readouterr().out


def test_a_fit_that_is_a_link_is_removed_alone_and_a_folder_of_another_name_is_none(store, tmp_path, capsys):
    fit, *_ = store.obtain(REQUEST, long_enough(2), work_until(2))
    at = ["--store", str(store.root)]
    for command in (["rm", fit.key], ["gc"]):
        elsewhere = tmp_path / command[0]
        fit.folder.rename(elsewhere)
        fit.folder.symlink_to(elsewhere)
        (store.root / "stranger").symlink_to(elsewhere)
        assert store.find(fit.key) is not None
        assert main([*command, *at]) == 0
        assert [p.name for p in store.root.iterdir() if not p.name.endswith(".lock")] == ["stranger"]
        assert (elsewhere / "manifest.json").exists()
        (store.root / "stranger").unlink()
        elsewhere.rename(fit.folder)
    (store.root / fit.key).rename(tmp_path / "gone")
    fit.folder.symlink_to(tmp_path / "nowhere")
    assert store.obtain(REQUEST, long_enough(2), work_until(2))[2] and not (tmp_path / "nowhere").exists()


LITTER = [".state-000010.ckpt.1-0123abcd.tmp", "epochs/.000010.safetensors.1-0123abcd.tmp", "state-000001.ckpt"]


def test_what_killed_processes_left_is_reported_and_swept(store, tmp_path, capsys):
    fit, *_ = store.obtain(REQUEST, long_enough(2), work_until(2))
    (tmp_path / "run").mkdir()
    store.record_use(fit.key, tmp_path / "run")
    at, before = ["--store", str(store.root)], sorted(fit.folder.rglob("*"))

    def leave():
        for name in LITTER:
            (fit.folder / name).write_bytes(bytes(2**20))

    leave()
    left = "killed processes left 3.0 MiB of files that nothing reads: to remove them, type python -m dipddpm.fits gc"
    assert main(["list", *at]) == 0
    assert f"{left} --store {store.root}\n" in capsys.readouterr().out
    assert main(["gc", "--dry-run", *at]) == 0
    assert capsys.readouterr().out == f"would remove 3.0 MiB that killed processes left in {fit.key}\n"
    assert len(store.keys()) == 1 and all((fit.folder / name).exists() for name in LITTER)
    with store.lock(fit.key):
        assert main(["gc", *at]) == 0
        assert f"kept: {fit.key} is being fitted by another process" in capsys.readouterr().out
    for sweep in (
        lambda: main(["gc", *at]),
        lambda: store.obtain(REQUEST, long_enough(2), work_until(2)),  # it finds the fit
    ):
        leave()
        sweep()
        assert sorted(fit.folder.rglob("*")) == before
    leave()
    store.obtain(REQUEST, long_enough(4), work_until(4))
    assert not [name for name in LITTER if (fit.folder / name).exists()]


@pytest.fixture
def nobody(tmp_path_factory):
    """A function that calls a function as the user nobody, and a store that this user may look into."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    folder = Path(tempfile.mkdtemp(prefix="shared-store-"))
    folder.chmod(0o755)

    def as_nobody(call, *given):
        os.seteuid(65534)
        try:
            return call(*given)
        finally:
            os.seteuid(0)

    yield as_nobody, FitStore(folder)
    shutil.rmtree(folder)


def test_what_another_user_may_not_read_is_marked_and_the_others_go_on(nobody, capsys):
    as_nobody, store = nobody
    requests = [REQUEST | {"seed": seed} for seed in range(5)]
    fits = [store.obtain(r, long_enough(2), work_until(2))[0] for r in requests]
    (store.root / "run").mkdir(mode=0)
    for fit in fits:
        store.record_use(fit.key, store.root / "run/deep")
    fits[0].folder.chmod(0)
    (fits[1].folder / "manifest.json").chmod(0)
    (fits[2].folder / "uses.txt").chmod(0)
    (fits[3].folder / "fit.json").chmod(0)
    at = ["--store", str(store.root)]
    assert as_nobody(main, ["list", *at]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert [" unreadable" in rows[fit.key] for fit in fits] == [True] * 4 + [False]
    assert all(" 0.0 h " in row for row in rows.values())
    assert as_nobody(main, ["show", fits[0].key, *at]) == 0
    said = capsys.readouterr()
    assert "? epochs, unreadable" in said.out and not said.err
    store.root.chmod(0)
    assert as_nobody(main, ["list", *at]) == 2
    store.root.chmod(0o755)
    assert capsys.readouterr().err == (
        f"error: {store.root} cannot be read (Permission denied): type --store <folder>\n"
    )
    assert " whole" in rows[fits[4].key] and "1 run " in rows[fits[4].key], "whose folder nobody but its owner can see"
    assert as_nobody(main, ["gc", *at]) == 0
    assert capsys.readouterr().out.count("cannot be read") == 4
    for request in requests[:2]:
        for ask in (store.stored, store.obtain):
            with pytest.raises(
                UserError, match="may not be read .*: ask its owner for access, or type store="
            ) as caught:
                as_nobody(ask, request, long_enough(2), "train")
            assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="the nearest fit"):
        as_nobody(store.stored, REQUEST | {"seed": 9}, long_enough(2), "train")
    assert as_nobody(store.obtain, requests[4], long_enough(2), None)[2] is False
    with pytest.raises(UserError, match="store=.* cannot be written|may not be written"):
        as_nobody(store.obtain, requests[4], long_enough(4), None)


def test_the_file_of_a_kept_epoch_is_checked_against_its_fit(store, tmp_path):
    fit, *_ = store.obtain(REQUEST, long_enough(2), work_until(2))
    path, alone = fit.epoch_file(2), tmp_path / "mine.safetensors"
    shutil.copy(path, alone)
    assert manifest.check_file(path, (5, 7)) == manifest.KeptFile("pixels", fit.folder)
    assert manifest.check_file(alone) == manifest.KeptFile("pixels", None)
    with pytest.raises(Damaged, match="the file holds a picture of 5x7, and the noisy picture has 7x5"):
        manifest.check_file(alone, (7, 5))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # the safetensors format has no checksum
    with pytest.raises(Damaged, match="the file was altered"):
        manifest.check_file(path)
    path.write_bytes(content)
    (fit.folder / "manifest.json").write_text("{}")
    with pytest.raises(Damaged, match="the fit's manifest.json is damaged"):
        manifest.check_file(path)
    (fit.folder / "manifest.json").unlink()
    assert manifest.check_file(path).fit is None, "of a fit that has not committed it"


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"picture": torch.full((3, 5, 7), float("nan"))}, "the picture has values that are not finite"),
        ({"picture": torch.full((3, 5, 7), float("inf"))}, "the picture has values that are not finite"),
        ({"picture": torch.full((3, 5, 7), 1e20)}, "the picture has values that are not finite"),
        ({"picture": torch.zeros(3, 5, 7, dtype=torch.float16)}, "the picture is F16"),
        ({"picture": torch.zeros(5, 7)}, r"the picture is F32 of shape \(5, 7\)"),
        ({"weights": torch.zeros(3, 5, 7)}, "the file holds no kept epoch"),
    ],
)
def test_a_file_that_holds_no_picture_is_damaged(tmp_path, tensors, said):
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(Damaged, match=said):
        manifest.check_file(tmp_path / "a.safetensors")


def test_a_file_larger_than_the_memory_is_damaged(tmp_path, monkeypatch):
    def no_room(*args, **named):
        raise MemoryError("Cannot allocate memory")

    (tmp_path / "a.safetensors").touch()
    monkeypatch.setattr(manifest, "safe_open", no_room)
    with pytest.raises(Damaged, match="Cannot allocate memory"):
        manifest.check_file(tmp_path / "a.safetensors")
