"""Write the kept epochs and the TensorBoard events of fits: in this process, or beside a GPU in processes of their own.

A GPU fits a small network faster than Python writes files and encodes pictures. So that the GPU does not wait, this
process forks others before the first block. They share memory for `SLOTS` ends of blocks with this process, and write
these ends while the fit goes on.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np
import torch

from dipddpm.dip.keeping import Keeper
from dipddpm.dip.kept import Entry, Kept

PROCESSES = 8  # at most, and one core stays for this process
SLOTS = 4  # ends of blocks that wait to be written


class Part(Protocol):
    """A part of the work at the end of a block. What ``write`` returns must be picklable."""

    def write(self, entry: Entry, weights: Mapping[str, torch.Tensor], picture: torch.Tensor) -> Any: ...

    def close(self) -> None: ...


class Epochs:
    """The files of the kept epochs of a fit."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper

    def write(self, entry: Entry, weights: Mapping[str, torch.Tensor], picture: torch.Tensor) -> Any:
        return self.keeper.keep(entry.epoch, weights, picture)

    def close(self) -> None: ...


Maker = tuple[int, Callable[[], Part]]  # the index of a picture, and a function that makes a part of its work
Written = tuple[int, int, Any]  # the index of a picture, an epoch, and what the part returned for it


class Here:
    """Write at once, in this process."""

    def __init__(self, makers: Sequence[Maker]) -> None:
        self.parts = [(i, maker()) for i, maker in makers]

    def write(self, entries: Mapping[int, Entry], kept: Kept) -> list[Written]:
        """Write the ends of blocks, by the index of their picture."""
        given = [(i, part) for i, part in self.parts if i in entries]
        return [(i, entries[i].epoch, part.write(entries[i], *kept.of(i))) for i, part in given]

    def wait(self) -> list[Written]:
        """Wait until all is written. Return the answers of the parts that `write` has not returned."""
        return []

    def close(self) -> None:
        for _, part in self.parts:
            part.close()


class Beside:
    """Write in forked processes, which make and own the parts. No part may use a GPU.

    Args:
        makers: The parts.
        like: Pictures and weights of the shapes and types that will be written.

    Raises:
        RuntimeError: In `write` and `wait`, when a process ended before its work.
        Exception: In `write` and `wait`, an exception of a part.
    """

    def __init__(self, makers: Sequence[Maker], like: Kept) -> None:
        self.slots = [_shared(like) for _ in range(SLOTS)]
        self.written = 0  # ends of blocks
        fork = multiprocessing.get_context("fork")
        count = max(1, min(PROCESSES, len(os.sched_getaffinity(0)) - 1, len(makers)))
        self.pipes: list[Connection] = []
        self.answered = [0] * count
        self.processes = []
        self.pictures = [{i for i, _ in makers[j::count]} for j in range(count)]
        for j in range(count):
            ours, theirs = fork.Pipe()
            process = fork.Process(target=_serve, args=(theirs, makers[j::count], self.slots), daemon=True)
            process.start()
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)

    def write(self, entries: Mapping[int, Entry], kept: Kept) -> list[Written]:
        answers = self._answers(self.written - SLOTS + 1)
        slot = self.slots[self.written % SLOTS]
        # By numpy: torch would start a thread on each core, which takes longer than such a copy.
        np.copyto(slot.pictures.numpy(), kept.pictures.numpy())
        for name, tensor in kept.weights.items():
            np.copyto(slot.weights[name].numpy(), tensor.numpy())
        for pipe, own in zip(self.pipes, self.pictures, strict=True):
            with suppress(ConnectionError):  # the process has ended: `_answers` says so, or why
                pipe.send((self.written % SLOTS, {i: entry for i, entry in entries.items() if i in own}))
        self.written += 1
        return answers

    def wait(self) -> list[Written]:
        return self._answers(self.written)

    def _answers(self, wanted: int) -> list[Written]:
        """Read answers until each process has written the first ``wanted`` ends of blocks."""
        found: list[Written] = []
        for j, pipe in enumerate(self.pipes):
            while self.answered[j] < wanted:
                try:
                    answer = pipe.recv()
                except (EOFError, ConnectionResetError):
                    raise RuntimeError("a process that writes the files of the fit has ended: start it again") from None
                if isinstance(answer, BaseException):
                    raise answer
                self.answered[j] += 1
                found += answer
        return found

    def close(self) -> None:
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            with suppress(OSError):
                pipe.send(None)
            pipe.close()
            process.join()


def _shared(like: Kept) -> Kept:
    """Return room for what is kept, in memory that forked processes share."""

    def room(tensor: torch.Tensor) -> torch.Tensor:
        memory = mmap.mmap(-1, max(1, tensor.numel() * tensor.element_size()))
        return torch.frombuffer(memory, dtype=tensor.dtype, count=tensor.numel()).view(tensor.shape)

    return Kept(room(like.pictures), {name: room(tensor) for name, tensor in like.weights.items()})


def end_with_parent() -> None:
    """Prepare a forked process: torch uses one thread, and the process ends with its parent, which may be killed."""
    torch.set_num_threads(1)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _serve(pipe: Connection, makers: Sequence[Maker], slots: Sequence[Kept]) -> None:
    """Write the ends of blocks that the pipe names, in a forked process, and answer each. None ends the process."""
    end_with_parent()
    gc.freeze()  # objects of the parent, such as its tensors on the GPU, are never collected here
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets the signal, too, and ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        here = Here(makers)
    except Exception as error:
        pipe.send(_portable(error))
        return
    messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(pipe, messages), daemon=True).start()
    while (message := messages.get()) is not None:
        slot, entries = message
        try:
            answer: Any = here.write(entries, slots[slot])
        except Exception as error:
            answer = _portable(error)
        pipe.send(answer)
    here.close()


def _receive(pipe: Connection, messages: queue.SimpleQueue[Any]) -> None:
    """Read all messages at once: the parent may wait to send one while this process waits to send an answer."""
    message: Any = pipe
    while message is not None:
        try:
            message = pipe.recv()
        except (EOFError, OSError):
            message = None
        messages.put(message)


def _portable(error: Exception) -> Exception:
    """Return an exception that another process can read: this one, or a RuntimeError with its text."""
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


@contextmanager
def opened(makers: Sequence[Maker], like: Kept, *, beside: bool) -> Iterator[Here | Beside]:
    """Yield a writer, and close it at the end of the block. After an exception its processes are killed."""
    writer = Beside(makers, like) if beside else Here(makers)
    try:
        yield writer
    except BaseException:
        if isinstance(writer, Beside):
            for process in writer.processes:
                process.kill()
        raise
    finally:
        writer.close()
