"""Children that run the real commands: forks of a process that has imported all, so a trial costs its work alone."""

from __future__ import annotations

import atexit
import ctypes
import importlib
import itertools
import os
import pkgutil
import resource
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from support import ROOT

ADDRESSES = 12 << 30  # bytes of memory that a child may ask for
PATIENCE = 120.0  # seconds after which a child hangs
_NUMBERS = itertools.count()


def warm() -> None:
    """Import what the commands import when their turn comes."""
    import dipddpm

    for module in pkgutil.walk_packages(dipddpm.__path__, "dipddpm."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("torch", "diffusers", "pywt", "skimage.restoration", "matplotlib.backends.backend_agg"):
        importlib.import_module(name)
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel  # noqa: F401  # diffusers imports them when named
    from torchmetrics.functional.image import structural_similarity_index_measure  # noqa: F401


@dataclass(frozen=True)
class Done:
    """What a child left: exit code (negative: the signal that ended it), output, seconds, and MB of memory."""

    code: int
    text: str
    seconds: float = 0.0
    memory: int = 0
    hung: bool = False

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL and not self.hung

    @property
    def lines(self) -> list[str]:
        return [line for line in self.text.splitlines() if line.strip()]

    def faults(self, *allowed: int, lines: int = 3) -> list[str]:
        """Return what was not as promised: the exit code, a traceback, a hang, a refusal that is not short.

        Args:
            allowed: The exit codes that are right; none allows 0 alone.
            lines: The most lines of a refusal.
        """
        if self.hung:
            return [f"hangs: {self.seconds:.0f} s"]
        faults = [] if self.code in (allowed or (0,)) else [f"exit {self.code}"]
        faults += ["traceback"] if "Traceback (most recent call last)" in self.text else []
        said = [line for line in self.lines if "][INFO]" not in line]
        if self.code == 2 and (len(said) > lines or "error" not in self.text.lower()):
            faults.append(f"refusal: {len(said)} lines")
        return faults


class Child:
    """A running command.

    Args:
        argv: As typed after ``python``: ``["sample.py", ...]`` or ``["-m", "dipddpm.fits", ...]``.
        folder: Where it is typed. Its output goes beside this folder, which may be full or removed.
        before: Called in the child before its work.
    """

    def __init__(self, argv: Sequence[str], folder: Path, *, before: Callable[[], None] | None = None) -> None:
        self.output = folder.parent / f"output-{next(_NUMBERS)}.txt"
        self.began = time.monotonic()
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            _become(list(argv), folder, self.output, before)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    @property
    def said(self) -> str:
        """The output so far."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def wait(self, kill_after: float | None = None, patience: float = PATIENCE) -> Done:
        """Wait for the end; kill the child after ``kill_after`` seconds."""
        while not (ended := os.wait4(self.pid, os.WNOHANG))[0]:
            seconds = time.monotonic() - self.began
            hung = seconds > patience
            if hung or (kill_after is not None and seconds >= kill_after):
                self.kill()
                ended = os.wait4(self.pid, 0)
                break
            time.sleep(0.002)
        else:
            hung = False
        text = self.said
        self.output.unlink(missing_ok=True)
        seconds = time.monotonic() - self.began
        return Done(os.waitstatus_to_exitcode(ended[1]), text, seconds, ended[2].ru_maxrss // 1024, hung)


def run(
    argv: Sequence[str],
    folder: Path,
    *,
    before: Callable[[], None] | None = None,
    kill_after: float | None = None,
    patience: float = PATIENCE,
) -> Done:
    """Run a command to its end, as a `Child`."""
    return Child(argv, folder, before=before).wait(kill_after, patience)


def as_owner() -> None:
    """Give up the right of root to read and write every file; for the start of a child."""
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()  # version 3, this process; no right
    if ctypes.CDLL(None, use_errno=True).capset(header, none):
        raise OSError(ctypes.get_errno(), "capset")


def _become(argv: list[str], folder: Path, output: Path, before: Callable[[], None] | None) -> None:
    code = 1
    try:
        os.setpgid(0, 0)
        out = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        for number, opened in enumerate((os.open(os.devnull, os.O_RDONLY), out, out)):
            os.dup2(opened, number)
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
        if before:
            before()
        code = _main(argv)
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    finally:  # never back into the campaign's own frames
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code & 0xFF)


def _main(argv: list[str]) -> int:
    try:
        if argv[0] == "-m":
            sys.argv = argv[1:]
            runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = [str(ROOT / argv[0]), *argv[1:]]
            runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
