"""Progress bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def bar(unit: str, *, threaded: bool = True) -> Progress:
    """Return a progress bar that counts ``unit`` and has a text field ``note``.

    Without a thread the bar is drawn by `Progress.refresh` alone. A process that is forked beside a thread may inherit
    a lock that the thread holds.
    """
    count = f"{{task.completed:.0f}}/{{task.total}} {unit}"
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(count),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        auto_refresh=threaded,
    )


@contextmanager
def window_bar(name: str, evaluations: int) -> Iterator[Callable[[float], None]]:
    """Show a bar over a window's evaluations; yield a function that takes the evaluations done since its last call."""
    with bar("evaluations") as progress:
        task = progress.add_task(name, total=evaluations, note="")
        yield lambda done: progress.advance(task, done)
