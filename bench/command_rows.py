"""The rows about commands: ``make demo`` against an older commit, and commands that answer at once."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.machine import has_fast_bf16, matrix_rate
from bench.pairs import CannotMeasure, Floor, Limit, Pair, Quality, Row, Sample, Side, not_worse
from bench.setting import Setting
from dipddpm.errors import CLONE

OLD = "30a8b0f"
HYDRA = ("-c", "import hydra")


def python(arguments: Sequence[str], cwd: Path, clone: Path = CLONE) -> tuple[float, subprocess.CompletedProcess[str]]:
    """Run Python with the code of a clone; return the seconds and the ended process."""
    command, where = [sys.executable, *arguments], {**os.environ, "PYTHONPATH": str(clone)}
    began = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, env=where, capture_output=True, text=True)
    return time.perf_counter() - began, done


def demo(setting: Setting) -> Pair:
    """Return the command of ``make demo`` against the same at an older commit, each in an empty folder."""
    old = setting.old
    if old is None or not (old / "sample.py").is_file():
        raise CannotMeasure(
            f"needs a clone at commit {OLD}: type git worktree add ../old {OLD}, then "
            "python -m bench --row demo --old ../old"
        )
    facts: dict[str, Any] = {}

    def run(clone: Path) -> Sample:
        with tempfile.TemporaryDirectory() as folder:
            command = [str(clone / "sample.py"), "hydra.run.dir=job", *setting.job]
            seconds, done = python(command, Path(folder), clone)
            if done.returncode:
                raise CannotMeasure(f"sample.py of {clone} ended with {done.returncode}: {done.stderr.strip()[-200:]}")
            metrics = json.loads(Path(folder, "job", "metrics.json").read_text())
        if clone == CLONE:
            facts.update(metrics)
        return Sample(seconds, metrics["result"]["psnr"])

    def floor() -> Floor:
        cost = facts["cost"]
        done = cost["total_evaluations_worth"] + facts.get("noisy_window", {}).get("nfe", 0) + 1  # the baselines
        return Floor(done * cost["evaluation_gflop"], matrix_rate("cpu", facts["environment"]["precision"]))

    bf16 = has_fast_bf16("cpu")
    return Pair(
        Side("make demo", lambda: run(CLONE)),
        Side(f"at {OLD}", lambda: run(old)),
        not_worse("PSNR of the result in dB", 0.5),
        floor=floor,
        warm_up=False,
        notes=[
            f"the limit is 0.6 where the processor has AVX512-BF16 or AMX; this one has {'it' if bf16 else 'neither'}"
        ],
        limit=Limit("at most", 0.6 if bf16 else 1.0),
    )


def answer(setting: Setting, typed: Sequence[str], code: int) -> Pair:
    """Return a command that answers at once against the import of hydra, by the seconds of a process.

    Args:
        setting: The sizes.
        typed: The arguments of sample.py.
        code: The exit code that the command must end with.
    """
    sample = str(CLONE / "sample.py")

    def several(arguments: Sequence[str], wanted: int) -> Sample:
        with tempfile.TemporaryDirectory() as folder:
            ends = [python(arguments, Path(folder)) for _ in range(setting.starts)]
        codes = {done.returncode for _, done in ends}
        said = "as expected" if codes == {wanted} else str(codes)
        return Sample(statistics.median(seconds for seconds, _ in ends), said)

    def compare(a: str, b: str) -> Quality:
        with tempfile.TemporaryDirectory() as folder:
            _, done = python(["-X", "importtime", sample, *typed], Path(folder))
        torch_too = any(line.rpartition("|")[2].strip() == "torch" for line in done.stderr.splitlines())
        said = f"{a}, {'with' if torch_too else 'without'} torch"
        return Quality("exit code; torch", said, b, a == b == "as expected" and not torch_too)

    return Pair(
        Side(" ".join(["sample.py", *typed]), lambda: several([sample, *typed], code)),
        Side("import hydra", lambda: several(HYDRA, 0)),
        compare,
        others=(Side("python alone", lambda: several(("-c", "pass"), 0)),),
    )


def _start(name: str, typed: Sequence[str], code: int, most: float) -> Row:
    return Row(name, f"sample.py {' '.join(typed)}", "python -c 'import hydra'", Limit("at most", most), "cpu",
               lambda setting: answer(setting, typed, code))  # fmt: skip


ROWS = (
    Row("demo", "make demo's command", f"the same at commit {OLD}", Limit("at most", 1.0), "cpu", demo),
    _start("help", ["--help"], 0, 4),
    _start("cfg", ["--cfg", "job"], 0, 4),
    _start("refusal", ["dip.lr=0"], 2, 6),
)
