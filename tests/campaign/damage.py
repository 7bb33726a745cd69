"""Damage to a stored fit, a job's folder or a kept file; then the same command: mended to the bit, or refused."""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from campaign.children import Done, as_owner
from campaign.children import run as run_child
from campaign.commands import EXTENDED, FIT, SWEEP, WINDOW
from campaign.desk import Desk
from campaign.evidence import differences, left

TRIALS = 20
Damage = Callable[[Path, random.Random], object]


def flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes() or b"\0")
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def zeros(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    at = rng.randrange(len(data) or 1)
    path.write_bytes(data[:at] + bytes(len(data[at : at + 4096])) + data[at + 4096 :])


def longer(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes() + rng.randbytes(rng.randint(1, 100)))


def folder(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()
    if rng.random() < 0.5:
        (path / "x").write_text("x")


def linked(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.symlink_to(rng.choice((path.name, "/nosuch/file")))  # to itself, or to nothing


def pipe(path: Path, rng: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES: dict[str, Damage] = {
    "a flipped bit": flip,
    "cut short": lambda path, rng: os.truncate(path, rng.randrange(path.stat().st_size or 1)),
    "zeros inside": zeros,
    "empty": lambda path, rng: path.write_bytes(b""),
    "longer": longer,
    "gone": lambda path, rng: path.unlink(),
    "random bytes": lambda path, rng: path.write_bytes(rng.randbytes(200)),
    "deep JSON": lambda path, rng: path.write_text("[" * 100_000),
    "a folder": folder,
    "a broken link": linked,
    "a pipe": pipe,
    "not to be read": lambda path, rng: path.chmod(0),
}


def run(desk: Desk) -> None:
    """Run the trials."""
    bases = {"fit": FIT, "extended": EXTENDED, "window": WINDOW, "sweep": SWEEP}
    wanted: dict[str, dict[str, Any]] = {}
    for name, command in bases.items():
        base = desk.folder(name)
        done = run_child(command, base)
        assert done.code == 0, done.text
        wanted[name] = left(base)
    trials = [_store, _store, _store, _job, _job, _kept_file]
    for i in range(desk.number(TRIALS)):
        trials[i % len(trials)](desk, f"{i}", wanted)


def _damaged(desk: Desk, path: Path) -> str:
    """Damage a file in a random way; return the way."""
    name = desk.rng.choice(list(DAMAGES))
    DAMAGES[name](path, desk.rng)
    return name


def _judge(desk: Desk, name: str, done: Done, copy: Path, wanted: dict[str, Any], *codes: int) -> None:
    faults = done.faults(0, 2, *codes)
    if done.code == 0:
        faults += differences(left(copy), wanted)
    desk.seen["mended or unharmed" if done.code == 0 else "refused"] += 1
    for path in copy.rglob("*"):
        if not path.is_symlink():
            path.chmod(stat.S_IRWXU)
    desk.judge(name, faults, done.text, copy)


def _copy(desk: Desk, base: str, name: str) -> Path:
    copy = desk.work / name
    shutil.copytree(desk.work / base, copy, symlinks=True)
    return copy


def _store(desk: Desk, name: str, wanted: dict[str, dict[str, Any]]) -> None:
    """Damage a file of a stored fit, then look for the fit, extend it, or forbid to make it."""
    copy = _copy(desk, "fit", name)
    shutil.rmtree(copy / "out")
    path = desk.rng.choice(sorted(p for p in copy.glob("fits/*/**/*") if p.is_file()))
    damage = _damaged(desk, path)
    then, base, command = desk.rng.choice(
        [("found", "fit", FIT), ("extended", "extended", EXTENDED), ("fit=never", "fit", [*FIT, "fit=never"])]
    )
    done = run_child(command, copy, before=as_owner)
    listed = run_child(["-m", "dipddpm.fits", "list", "--store", "fits"], copy, before=as_owner)
    if faults := listed.faults(0, 2):
        desk.judge(f"{name} list after {path.name} {damage}", faults, listed.text)
    _judge(desk, f"{name} store: {path.name} {damage}, then {then}", done, copy, wanted[base])


def _job(desk: Desk, name: str, wanted: dict[str, dict[str, Any]]) -> None:
    """Damage a file of one of a sweep's jobs, then type the sweep again."""
    copy = _copy(desk, "sweep", name)
    files = [p for p in copy.glob("out/*/**/*") if p.is_file() and not p.is_symlink() and "fit" not in p.parts]
    names = sorted({p.name for p in files})
    chosen = desk.rng.choice(["metrics.json", *names])
    path = desk.rng.choice(sorted(p for p in files if p.name == chosen))
    damage = _damaged(desk, path)
    done = run_child(SWEEP, copy, before=as_owner)
    _judge(desk, f"{name} job: {path.name} {damage}", done, copy, wanted["sweep"], 1)  # 1: a job failed, in a line


def _kept_file(desk: Desk, name: str, wanted: dict[str, dict[str, Any]]) -> None:
    """Damage the file of a kept epoch that ``checkpoint=`` names: within its store, or a copy elsewhere."""
    copy = _copy(desk, "window", name)
    shutil.rmtree(copy / "out")
    (path,) = copy.glob("fits/*/epochs/000060.safetensors")
    place = desk.rng.choice(("kept file", "copied file"))  # beside a copy is no hash of it
    if place == "copied file":
        path = Path(shutil.copy(path, copy / "mine.safetensors"))
    damage = _damaged(desk, path)
    done = run_child([*WINDOW, f"checkpoint={path}"], copy, before=as_owner)
    faults = done.faults(0, 2)
    if done.code == 0 and place == "kept file" and left(copy)["out/dip.png"] != wanted["window"]["out/dip.png"]:
        faults.append("another picture was used")
    desk.seen["mended or unharmed" if done.code == 0 else "refused"] += 1
    desk.judge(f"{name} {place} {damage}", faults, done.text, copy)
