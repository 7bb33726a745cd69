"""Bad pictures, overrides, priors and checkpoints: a result or a short refusal, in little time and memory."""

from __future__ import annotations

from pathlib import Path

from campaign.bad_input.case import EXECUTED, Case
from campaign.bad_input.checkpoints import checkpoints
from campaign.bad_input.overrides import overrides
from campaign.bad_input.pictures import pictures
from campaign.bad_input.priors import priors
from campaign.children import Done
from campaign.children import run as run_child
from campaign.desk import Desk

SHARES = {pictures: 24, overrides: 28, priors: 20, checkpoints: 8}  # cases of each sort
SECONDS = 20.0
MEMORY = 2048  # MB


def run(desk: Desk) -> None:
    """Run a random choice of the cases of each sort."""
    for make, few in SHARES.items():
        cases = make(desk.folder(make.__name__), desk.rng)
        for case in desk.rng.sample(cases, min(desk.number(few), len(cases))):
            folder = desk.folder("case")
            done = run_child(case.argv, folder, patience=2 * SECONDS)
            desk.seen[f"exit {done.code}"] += 1
            desk.judge(f"{make.__name__}: {case.name}", _faults(case, done, folder), done.text, folder)


def _faults(case: Case, done: Done, folder: Path) -> list[str]:
    faults = done.faults(*case.codes)
    faults += [f"slow: {done.seconds:.0f} s"] if done.seconds > SECONDS and not done.hung else []
    faults += [f"memory: {done.memory} MB"] if done.memory > MEMORY else []
    faults += [f"executed: {p}" for p in folder.rglob(EXECUTED)]
    if done.code and list(folder.rglob("metrics.json")):
        faults.append("left: the metrics.json of a refused run")
    return faults
