"""Progress bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dipddpm.sampler import Snapshot


def bar(unit: str) -> Progress:
    """Return a progress bar that counts ``unit`` and has a field ``note`` for what is new."""
    count = f"{{task.completed}}/{{task.total}} {unit}"
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(count),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )


@contextmanager
def window_bar(name: str, start_t: int, end_t: int) -> Iterator[Callable[[Snapshot], None]]:
    """Show a bar over the levels of a window; yields what is to be called with each snapshot."""
    with bar("levels") as progress:
        task = progress.add_task(name, total=start_t - end_t, note="")

        def watch(snapshot: Snapshot) -> None:
            note = f"level {snapshot.level}, {snapshot.nfe} evaluations"
            progress.update(task, completed=start_t - snapshot.level, note=note)

        yield watch
