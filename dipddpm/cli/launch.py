"""Run one job of an entry point in the process that Hydra's launcher chose: set threads, skip done jobs, record errors.

A job writes metrics.json last: a folder that holds it is complete. The folder of a failed job holds error.txt.
The module imports no torch at its top: threads must be set before torch is imported, and a done job needs no torch.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import chdir, nullcontext, suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from dipddpm.config import compose as config
from dipddpm.config.schema import Config
from dipddpm.errors import UserError
from dipddpm.files import (
    canonical,
    flat,
    half_written,
    locked,
    read_json,
    read_yaml,
    remove,
    write_any_name,
    write_text,
)
from dipddpm.metrics.weights import stlpips_weights
from dipddpm.names import LOOKS, MACHINE, PICTURE_FILES, RESULTS, STOPPED, TABLE, TEXTS
from dipddpm.runs import fingerprints
from dipddpm.runs.job import Job
from dipddpm.surroundings import settle

log = logging.getLogger(__name__)
Objective = float | None | tuple[float | None, ...]  # for a sweeper: a figure, or one figure for each name
SIGNALLED = f"{STOPPED}: to continue, type the same command"
_LIMITED: list[int] = []  # the threads of this process's jobs so far


def run_job(cfg: DictConfig, command: str) -> Objective:
    """Run one job in its folder, unless the folder holds its result already.

    Args:
        cfg: The configuration that Hydra composed.
        command: ``fit`` or ``sample``, a function of `dipddpm.runs.commands`.

    Returns:
        The figures that ``objective`` names, for a sweeper: one number, or a tuple of several. An unknown figure is
        None, such as a PSNR without a clean picture.

    Raises:
        JobFailed: In a sweep, for every exception of the job. The job's line is in error.txt and its traceback in the
            job's log then. Outside a sweep the process leaves: with exit code 2 for a `UserError`, otherwise with 1.
    """
    hydra = HydraConfig.get()
    job = Job(Path(hydra.runtime.output_dir), hydra.mode == RunMode.MULTIRUN, tuple(hydra.overrides.task))
    settle()
    _set_terminal()
    if hydra.verbose is True:  # Hydra has set all loggers to DEBUG, and other libraries print thousands of lines
        logging.getLogger().setLevel(logging.INFO)
        logging.getLogger("dipddpm").setLevel(logging.DEBUG)
    # Paths are those of the folder in which the command was typed, also with hydra.job.chdir=true.
    with chdir(hydra.runtime.cwd) if hydra.job.chdir else nullcontext():
        return _run(cfg, command, job, hydra.launcher)


def _run(cfg: DictConfig, command: str, job: Job, launcher: Mapping[str, Any]) -> Objective:
    failed, alone = job.folder / "error.txt", False
    try:
        with suppress(OSError):  # such as a full disk; the job tries again, and says so
            job.claim()
        waiting = f"another process runs the same job in {job.folder}: waiting for it"
        with locked(job.folder / ".job.lock", job.key, waiting):  # a grid can hold a job twice, a user start it twice
            alone = True
            return _worked(cfg, command, job, launcher)
    except (SystemExit, KeyboardInterrupt) as stop:
        # Lightning turns SIGTERM and Ctrl-C into SystemExit without a code, and the sweep would end as if it were done.
        log.error(SIGNALLED)
        if alone:  # otherwise the folder is that of the process that runs the job
            _leave_note(failed, STOPPED)
        interrupted = isinstance(stop, KeyboardInterrupt) or isinstance(stop.__context__, KeyboardInterrupt)
        code = 128 + signal.SIGINT if interrupted else getattr(stop, "code", None)
        raise SystemExit(code or 128 + signal.SIGTERM) from stop
    except Exception as error:
        line = _one_line(error)
        log.error("%s", line)
        if not isinstance(error, UserError):
            _log_traceback(error)
        if alone:
            _leave_note(failed, line)
        if job.sweep:
            raise JobFailed(line) from error
        sys.exit(2 if isinstance(error, UserError) else 1)


def _worked(cfg: DictConfig, command: str, job: Job, launcher: Mapping[str, Any]) -> Objective:
    """Do the work of one job, unless its folder holds the result."""
    c = config.typed(cfg)
    for path in (
        *half_written(job.folder, (*PICTURE_FILES, *TEXTS, TABLE)),
        *half_written(job.folder / RESULTS, ("*.png",)),
    ):
        path.unlink(missing_ok=True)
    if job.sweep and done_before(job.folder, c, command):
        log.info("done before: %s", job.folder)
        remove(job.folder / "error.txt")  # a later attempt failed before it could compare files
        return objective(c, job.folder)
    _spare_inputs(c, job)
    for path in job.folder.iterdir():
        if any(path.match(name) for name in (*PICTURE_FILES, *TEXTS)) and path.is_dir() and not path.is_symlink():
            raise UserError(
                f"{job.key}={job.folder} holds a folder {path.name}, and a job writes a file of that name: "
                f"type {job.key}=<another folder>"
            )
    for stale in ("error.txt", "metrics.json"):
        remove(job.folder / stale)
    _set_threads(c.threads or share_of_threads(launcher))
    from dipddpm.runs import commands as runs

    getattr(runs, command)(c, job)
    return objective(c, job.folder)


class JobFailed(CompactHydraException):
    """The line of a failed job of a sweep. Hydra prints it without a traceback, when all jobs have ended."""


def _one_line(error: Exception) -> str:
    """Return what an exception says in one line, with its type where the text needs it."""
    if isinstance(error, OSError) and error.strerror:
        return go_on(error)
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError | RuntimeError) else f"{type(error).__name__}: {text}"


def go_on(error: OSError) -> str:
    """Return what the system says, the file, and the way to continue."""
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror}{where}; to continue, type the same command"


def _log_traceback(error: BaseException | None) -> None:
    """Write the traceback of an exception to the job's log, and not to the terminal."""
    how = (type(error), error, error.__traceback__) if error else None
    record = log.makeRecord(log.name, logging.ERROR, __file__, 0, "the job failed", (), how)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


def _set_terminal() -> None:
    """Let terminal and logs take any file name, and keep tracebacks of threads and of full disks out of the terminal.

    The error of a thread, such as TensorBoard's writer, is raised again by its next use.
    """
    handlers = logging.getLogger().handlers
    write_any_name(sys.stdout, sys.stderr, *(h.stream for h in handlers if isinstance(h, logging.StreamHandler)))
    logging.raiseExceptions = False
    threading.excepthook = lambda failed: _log_traceback(failed.exc_value)


def _spare_inputs(c: Config, job: Job) -> None:
    """Refuse a run whose pictures would overwrite its inputs, which ``hydra.run.dir=.`` can cause."""
    folder = job.folder.resolve()
    for key, path in fingerprints.inputs(c).items():
        for file in (path.absolute(), path.resolve()):  # a link, and the file that it leads to
            place, result = file.parent.resolve(), file.suffix == ".png"
            ours = place == folder and any(file.match(p) for p in PICTURE_FILES)
            if ours or (place == folder / RESULTS and result):
                raise UserError(
                    f"{key}={path} would be overwritten: the run writes pictures of such names to {folder}; type "
                    f"{job.key}=<another folder>"
                )


def done_before(folder: Path, c: Config, command: str) -> bool:
    """Return whether a folder holds this job's whole result, of the same command, configuration and input files.

    A picture that is missing or not as the job left it makes the result incomplete.

    Raises:
        UserError: When a file that the configuration names does not exist any more.
    """
    try:
        metrics = read_json(folder / "metrics.json")
        canonical(metrics)  # raises for NaN and infinity, which no job writes
        both = config.read_back(read_yaml(folder / "config.yaml")), config.plain(c)
        stored, wanted = ({key: v for key, v in flat(one).items() if key not in MACHINE} for one in both)
        if metrics["command"] != command or stored != wanted:
            return False
        if stlpips_weights() and any(_look_up(metrics, o) is None for o in c.objective if o in LOOKS):
            return False  # the job ran before the weights were installed
        before = dict(metrics["inputs"])
        if damaged := fingerprints.damaged(folder, metrics.get("files", {})):
            log.info("done before, but %s is missing or damaged: the job runs again", ", ".join(damaged))
            return False
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False
    now = fingerprints.of(c, command)
    if changed := sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key)):
        log.info("done before with another %s: the job runs again", ", ".join(changed))
    return not changed


def objective(c: Config, folder: Path) -> Objective:
    """Return the figures that ``objective`` names from a job's metrics.json: one number, or a tuple of several."""
    metrics = read_json(folder / "metrics.json")
    values = tuple(_look_up(metrics, name) for name in c.objective)
    return values[0] if len(values) == 1 else values


def _look_up(metrics: Mapping[str, Any], name: str) -> float | None:
    row, _, figure = name.partition(".")
    figures = metrics.get(row)
    return figures.get(figure) if isinstance(figures, Mapping) else None


def share_of_threads(launcher: Mapping[str, Any], cores: int | None = None) -> int | None:
    """Return the number of threads for each of the jobs that a launcher runs on this machine at once.

    Two processes that share two cores, with two threads each, can be 30 times slower than one after the other.

    Args:
        launcher: Hydra's ``launcher`` node.
        cores: Cores that this process may use; None asks the machine.

    Returns:
        None where jobs run one after the other, or a cluster gives no number: torch then takes all cores.
    """
    for key in ("cpus_per_task", "num_cpus"):  # submitit; ray
        given = launcher.get(key) or (launcher.get("ray") or {}).get("remote", {}).get(key)
        if given:
            return max(1, int(given))  # ray allows a fraction
    if "ray" in launcher or str(launcher.get("_target_")).endswith("LocalLauncher"):
        return 1  # ray counts one core a job; submitit_local starts all jobs at once, however many there are
    if "array_parallelism" in launcher:  # submitit_slurm: the allocated cores, 1 for a job that asked for none
        allocated = os.environ.get("SLURM_CPUS_ON_NODE", "")
        return int(allocated) if allocated.isdigit() else None
    jobs = launcher.get("n_jobs")  # joblib: -1 is one job a core
    if jobs is None:
        return None
    cores = cores or _usable_cores()
    jobs = int(jobs) if jobs > 0 else max(1, cores + 1 + int(jobs))
    return max(1, cores // jobs)


def _usable_cores() -> int:
    """Return the number of cores that this process may use, which can be fewer than the machine has."""
    try:
        from joblib import cpu_count  # joblib's launcher counts jobs by it; it knows the quotas of containers too

        return cpu_count()
    except ImportError:
        return len(os.sched_getaffinity(0))


def _set_threads(threads: int | None) -> None:
    """Set the threads of this process; None means all cores. It has full effect only before torch is imported."""
    if not threads:
        if not _LIMITED:
            return
        threads = _usable_cores()  # an earlier job of this process had fewer
    _LIMITED.append(threads)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    if "torch" in sys.modules:  # a worker that has run another job
        sys.modules["torch"].set_num_threads(threads)


def _leave_note(path: Path, line: str) -> None:
    """Write error.txt whole or not at all: an empty file would hide why the job failed."""
    try:
        write_text(path, line + "\n")
    except OSError as error:  # such as a full disk, which may be why the job failed
        print(f"error: {path} could not be written ({error.strerror}); it would say: {line}", file=sys.stderr)
