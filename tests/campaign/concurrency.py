"""Many commands at once: eight that need one fit, a killed owner, a manager beside them, two sweeps into one folder."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from campaign.children import Child
from campaign.children import run as run_child
from campaign.commands import SMALL, SWEEP
from campaign.desk import Desk
from campaign.evidence import differences, fits, left

ROUNDS = 1
PROCESSES = 8
LONG = ["train_dip.py", *SMALL, "dip.layers=1", "dip.max_epochs=150", "store=fits"]  # long enough to be met halfway
WORKS = re.compile(r"- (fitting|continuing from) ")  # logged by the process that makes or extends the fit


def run(desk: Desk) -> None:
    """Run all kinds of crowd, in each round."""
    alone, swept = desk.folder("alone"), desk.folder("swept")
    for command, folder in (([*LONG, "hydra.run.dir=out"], alone), (SWEEP, swept)):
        done = run_child(command, folder)
        assert done.code == 0, done.text
    wanted = left(alone)
    for i in range(desk.number(ROUNDS)):
        _one_fit(desk, f"{i} {PROCESSES} at once", wanted)
        _dead_owners(desk, f"{i} two owners of the fit die", wanted)
        _lengths(desk, f"{i} other lengths at once", wanted)
        _manager(desk, f"{i} list, gc and rm beside a fit", wanted)
        _sweeps(desk, f"{i} two sweeps into one folder", left(swept))


def _start(folder: Path, *more: str) -> list[Child]:
    return [Child([*LONG, *more, f"hydra.run.dir=out{i}"], folder) for i in range(PROCESSES)]


def _same(folder: Path, jobs: Iterable[int], wanted: dict[str, Any]) -> list[str]:
    """Return what differs in the store, and in the folders of these of several jobs, from the job that was alone."""
    found = left(folder)
    faults = differences(_store(found), _store(wanted))
    for i in jobs:
        mine = {k.replace(f"out{i}", "out", 1): v for k, v in found.items() if k.startswith((f"out{i}/", f"out{i}:"))}
        faults += differences(mine, _job(wanted))
    return faults


def _job(found: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in found.items() if k.startswith("out")}


def _store(found: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in found.items() if not k.startswith("out")}


def _one_fit(desk: Desk, name: str, wanted: dict[str, Any]) -> None:
    folder = desk.folder(name)
    done = [child.wait() for child in _start(folder)]
    faults = [fault for d in done for fault in d.faults()]
    if (makers := sum(bool(WORKS.search(d.text)) for d in done)) != 1:
        faults.append(f"{makers} processes made the fit")
    faults += _same(folder, range(PROCESSES), wanted)
    faults += [f"left: {p.name}" for p in folder.rglob("*.tmp")]
    desk.judge(name, faults, done[0].text, folder)


def _dead_owners(desk: Desk, name: str, wanted: dict[str, Any]) -> None:
    folder = desk.folder(name)
    children = dict(enumerate(_start(folder)))
    for _ in range(2):
        owner = None
        while owner is None and time.monotonic() - children[max(children)].began < 60:
            owner = next((i for i, c in children.items() if WORKS.search(c.said)), None)
            time.sleep(0.005)
        if owner is None:
            break
        time.sleep(desk.rng.uniform(0, 0.3))
        child = children.pop(owner)
        child.kill()
        desk.seen["owners killed"] += child.wait().killed
    done = {i: child.wait() for i, child in children.items()}
    faults = [fault for d in done.values() for fault in d.faults()]
    faults += _same(folder, done, wanted)
    desk.judge(name, faults, "\n".join(d.text[-300:] for d in done.values()), folder)


def _lengths(desk: Desk, name: str, wanted: dict[str, Any]) -> None:
    folder = desk.folder(name)
    epochs = (60, 150, 90, 30, 150, 120)
    other = [a for a in LONG if "max_epochs" not in a]
    commands = [[*other, f"dip.max_epochs={n}", f"hydra.run.dir=out{i}"] for i, n in enumerate(epochs)]
    done = [child.wait() for child in [Child(command, folder) for command in commands]]
    faults = [fault for d in done for fault in d.faults()]
    faults += _same(folder, (1, 4), wanted)
    desk.judge(name, faults, done[1].text, folder)


def _manager(desk: Desk, name: str, wanted: dict[str, Any]) -> None:
    folder = desk.folder(name)
    children = [Child([*LONG, f"hydra.run.dir=out{i}"], folder) for i in range(2)]
    faults = []
    for i in range(6):
        keys = list(fits(folder / "fits"))[:1]
        argv = (["list"], ["gc"], ["rm", "--force", *keys] if keys else ["list"])[i % 3]
        done = run_child(["-m", "dipddpm.fits", *argv, "--store", "fits"], folder)
        faults += [f"{argv[0]}: {fault}" for fault in done.faults(0, 2)]
    done = [child.wait() for child in children]
    faults += [fault for d in done for fault in d.faults()]
    found = left(folder)  # the fit may be gone
    faults += _same(folder, range(2), _job(wanted) | _store(found))
    desk.judge(name, faults, "\n".join(d.text[-600:] for d in done), folder)


def _sweeps(desk: Desk, name: str, wanted: dict[str, Any]) -> None:
    folder = desk.folder(name)
    done = [child.wait() for child in [Child(SWEEP, folder) for _ in range(2)]]
    faults = [fault for d in done for fault in d.faults()] + differences(left(folder), wanted)
    if (ran := sum(d.text.count("metrics.json are in") for d in done)) > 4:
        faults.append(f"{ran} jobs ran, not 4")
    desk.judge(name, faults, done[0].text, folder)
