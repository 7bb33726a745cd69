"""A disk that fills up in the middle of a run, and a store that is read-only. Needs root, for a tmpfs of its own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from campaign.children import run as run_child
from campaign.commands import EXTENDED, FIT, SWEEP, WINDOW
from campaign.desk import Desk
from campaign.evidence import differences, left

TRIALS = 6
COMMANDS = {"fit": FIT, "window": WINDOW, "sweep": SWEEP}
BLOCK = 4096
WORDS = ("No space left", "error:")  # one of them tells of the disk


def run(desk: Desk) -> None:
    """Run the trials, or say why they cannot be run."""
    try:
        with _mounted(desk.work / "attempt", 1 << 20):
            pass
    except (OSError, subprocess.CalledProcessError):
        desk.skipped = "needs root, to mount a tmpfs"
        return
    wanted: dict[str, dict[str, Any]] = {}
    sizes: dict[str, int] = {}
    for name, command in COMMANDS.items():
        folder = desk.folder(name)
        done = run_child(command, folder)
        assert done.code == 0, done.text
        wanted[name] = left(folder)
        sizes[name] = sum(p.lstat().st_blocks * 512 for p in folder.rglob("*"))
    for i in range(desk.number(TRIALS)):
        name = desk.rng.choice(list(COMMANDS))
        share = desk.rng.uniform(0.02, 1)
        room = max(int(sizes[name] * share) // BLOCK, 16) * BLOCK
        with _mounted(desk.work / f"{i}", room) as folder:
            faults, text = _filled(desk, COMMANDS[name], folder, wanted[name])
        desk.judge(f"{i} {name}, room for {share:.0%}", faults, text)
    _read_only(desk, "a stored fit is found", FIT, 0)
    _read_only(desk, "a stored fit is too short", EXTENDED, 2)


@contextmanager
def _mounted(folder: Path, room: int) -> Iterator[Path]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={room},mode=777", "tmpfs", str(folder)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def _filled(desk: Desk, command: list[str], folder: Path, wanted: dict[str, Any]) -> tuple[list[str], str]:
    """Run a command on a disk that is too small, then again with room; return faults and output."""
    done = run_child(command, folder)
    desk.seen[f"exit {done.code}"] += 1
    faults = done.faults(0, 1, 2)
    if done.code and not any(word in done.text for word in WORDS):
        faults.append("no word of the disk")
    found = left(folder)  # a job's files are read where its metrics.json is there: the job then counts as done
    faults += [f"half written: {k}" for k, v in found.items() if k.endswith(".png") and wanted.get(k) != v]
    faults += [f"half written: {k}" for k, v in found.items() if v == "damaged"]
    _remount(folder, "size=200m")
    again = run_child(command, folder)
    faults += [f"again: {fault}" for fault in again.faults() or differences(left(folder), wanted)]
    faults += [f"again: {p.name} left" for p in folder.glob("out/**/error.txt")]
    return faults, again.text if again.code else done.text


def _read_only(desk: Desk, name: str, command: list[str], code: int) -> None:
    out = desk.folder(name)
    with _mounted(desk.work / f"store of {name}", 50 << 20) as folder:
        shutil.copytree(desk.work / "fit" / "fits", folder / "fits", symlinks=True)
        _remount(folder, "ro")
        done = run_child([a for a in command if a != "store=fits"] + [f"store={folder / 'fits'}"], out)
        faults = done.faults(code)
        for argv in (["list"], ["gc"]):
            managed = run_child(["-m", "dipddpm.fits", *argv, "--store", str(folder / "fits")], out)
            faults += [f"{argv[0]}: {fault}" for fault in managed.faults(0, 2)]
    desk.judge(f"read-only store: {name}", faults, done.text, out)
