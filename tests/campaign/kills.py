"""SIGKILL at random moments and before random changes of a file; then the same command, to the same bits."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from campaign.children import run as run_child
from campaign.commands import FIT, SMALL, SWEEP, TO_ONE_FOLDER, WINDOW
from campaign.desk import Desk
from campaign.evidence import differences, left

TRIALS = 12
COMMANDS = {
    "fit": FIT,
    "noisy input": [
        *("train_dip.py", "threads=1", "dip=skip", "dip.layers=2", "stopping=wmv", "stopping.patience=20"),
        *("image.size=16", "dip.input_noise=0.05", "dip.ema=0.7", "dip.steps_per_epoch=2", "dip.checkpoint_every=3"),
        *("dip.max_epochs=60", "panel_every=7", *TO_ONE_FOLDER),
    ],
    "window": WINDOW,
    "holes": [
        *("sample.py", "experiment=inpaint", *SMALL, "dip.layers=1", "dip.max_epochs=60", "ddpm.samples=2"),
        *("ddpm.init=diffused", "ddpm.steps=6", *TO_ONE_FOLDER),
    ],
    "sweep": SWEEP,
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename": 1, "os.link": 1, "os.symlink": 1, "os.remove": 0, "os.mkdir": 0, "os.rmdir": 0, "os.chmod": 0,
           "os.truncate": 0}  # fmt: skip  # events of Python's audit, and which of their arguments is changed


def run(desk: Desk) -> None:
    """Run the trials."""
    wanted: dict[str, dict[str, Any]] = {}
    seconds: dict[str, float] = {}
    changes: dict[str, int] = {}
    for i in range(desk.number(TRIALS)):
        name = desk.rng.choice(list(COMMANDS))
        command = COMMANDS[name]
        if name not in wanted:
            folder, marks = desk.folder(f"undisturbed {name}"), desk.work / f"changes of {name}"
            done = run_child(command, folder, before=changing(folder, marks))
            assert done.code == 0, done.text
            wanted[name], seconds[name], changes[name] = left(folder), done.seconds, marks.stat().st_size
        folder, story = desk.folder(f"{i}"), []
        faults: list[str] = []
        for _ in range(desk.rng.choice((1, 2, 3, 4))):
            if desk.rng.random() < 0.5:
                at = desk.rng.randint(1, changes[name])
                story.append(f"before change {at}")
                done = run_child(command, folder, before=changing(folder, kill_at=at))
            else:
                after = desk.rng.uniform(0, seconds[name])
                story.append(f"after {after:.2f} s")
                done = run_child(command, folder, kill_after=after)
            desk.seen["kills"] += done.killed
            faults += [] if done.killed else done.faults()
        done = run_child(command, folder)
        faults += done.faults() or differences(left(folder), wanted[name])
        faults += [f"left: {p.name}" for p in folder.glob("out*/**/error.txt")]
        desk.judge(f"{i} {name}, killed {', '.join(story)}", faults, done.text, folder)


def changing(root: Path, marks: Path | None = None, kill_at: int = 0) -> Callable[[], None]:
    """Return a function for the start of a child. The child then watches its changes of files under ``root``.

    Args:
        root: The folder.
        marks: A file outside the folder that gets a byte for each change.
        kill_at: The number of the change before which the child kills itself; 0 lets it live.
    """

    def before() -> None:
        seen = 0
        file = os.open(marks, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if marks else None

        def hook(event: str, args: tuple[Any, ...]) -> None:
            nonlocal seen
            if event == "open":
                path = args[0] if (args[2] or 0) & WRITING else None
            else:
                path = args[CHANGES[event]] if event in CHANGES else None
            if not isinstance(path, str | bytes | os.PathLike) or not _inside(path, root):
                return
            seen += 1
            if file is not None:
                os.write(file, b".")
            if seen == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)

    return before


def _inside(path: str | bytes | os.PathLike[str], root: Path) -> bool:
    return os.path.abspath(os.fsdecode(path)).startswith(f"{root}{os.sep}")
