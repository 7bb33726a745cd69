"""The rows about a prior at 256x256: one evaluation, the whole job, and its peak memory."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

import dipddpm as dd
from bench.bare import arithmetic
from bench.jobs import configured
from bench.machine import clocked, has_fast_bf16, matrix_rate
from bench.pairs import CannotMeasure, Floor, Limit, Pair, Quality, Row, Sample, Side
from bench.setting import Setting
from dipddpm.diffusion.flops import evaluation_gflop
from dipddpm.diffusion.prior import Prior
from dipddpm.errors import CLONE
from dipddpm.runs import commands
from dipddpm.runs.job import Job

LEVEL = 50
ALLOWED = {"fp32": 3e-3, "tf32": 1e-2, "bf16": 5e-2}  # rms difference of two evaluations, as a share of their rms


def evaluation_pair(setting: Setting, device: str, precision: str) -> Pair:
    """Return an evaluation of the large network against a call of diffusers' UNet2DModel, by its seconds.

    A is a window of ``setting.levels`` evaluations, with the sampler's arithmetic. B is the network as diffusers gives
    it: fp32, NCHW, with the switches of a fresh PyTorch process.
    """
    if precision == "bf16" and not has_fast_bf16(device):
        raise CannotMeasure("this processor has no AVX512-BF16 and no AMX, so bf16 would not be faster than fp32")
    picture = setting.face(setting.large).noisy
    n, size = setting.levels, setting.large

    @cache
    def prior() -> Prior:
        return dd.load_prior(setting.prior_folder, device=device, precision=precision)

    def ours() -> Sample:
        window = dd.Window(LEVEL, LEVEL - n)
        taken = clocked(lambda: dd.restore(prior(), picture, window), device)
        return Sample(taken / n, one_evaluation(prior().evaluate, picture, device))

    def theirs() -> Sample:
        unet = diffusers_network(setting.prior_folder, device)
        x = picture.to(device)
        with arithmetic(None), torch.no_grad():
            taken = clocked(lambda: [unet(x, LEVEL - 1) for _ in range(n)], device)
            return Sample(taken / n, one_evaluation(unet, picture, device))

    return Pair(
        Side(f"a window of {n} levels, {precision}", ours),
        Side("UNet2DModel", theirs),
        lambda a, b: same_evaluation(a, b, precision),
        floor=lambda: Floor(evaluation_gflop(prior(), (size, size)), matrix_rate(device, precision)),
    )


@torch.no_grad()
def one_evaluation(network: Callable[..., Any], picture: torch.Tensor, device: str) -> torch.Tensor:
    """Return one evaluation of a picture, on the CPU."""
    return network((2 * picture - 1).to(device), torch.tensor(LEVEL - 1)).sample.float().cpu()


def same_evaluation(a: torch.Tensor, b: torch.Tensor, precision: str) -> Quality:
    """Compare two evaluations of the same picture."""
    rms = b.square().mean().sqrt().item()
    difference = (a - b).square().mean().sqrt().item() / rms
    figure = f"rms difference of an evaluation / its rms (within {ALLOWED[precision]:g})"
    return Quality(figure, difference, "the reference", difference <= ALLOWED[precision])


@cache
def diffusers_network(folder: Path, device: str) -> Any:
    from diffusers.models.unets.unet_2d import UNet2DModel

    network: Any = UNet2DModel.from_pretrained(folder, subfolder="unet")
    return network.to(device).eval()


def job_pair(setting: Setting, typed: Sequence[str], device: str) -> Pair:
    """Return a whole job against diffusers' whole chain, by the seconds after the imports: loading, work, files.

    The prior has random weights, so the pictures say nothing. The quality is one evaluation in the job's precision.
    """
    typed = [f"prior.path={setting.prior_folder}", f"image.size={setting.large}", f"device={device}", "baselines=false",
             *typed, *setting.job]  # fmt: skip
    c = configured(typed)
    picture = setting.face(setting.large).noisy
    facts: dict[str, Any] = {}

    def ours() -> Sample:
        with tempfile.TemporaryDirectory() as folder:
            job = Job(Path(folder, "job"), overrides=tuple(typed))
            job.folder.mkdir()
            taken = clocked(lambda: commands.sample(configured([*typed, f"store={folder}/fits"]), job), device)
            facts.update(json.loads((job.folder / "metrics.json").read_text()))
        precision = facts["environment"]["precision"]
        prior = dd.load_prior(setting.prior_folder, device=device, precision=precision)
        return Sample(taken, one_evaluation(prior.evaluate, picture, device))

    def theirs() -> Sample:
        from diffusers.pipelines.ddpm.pipeline_ddpm import DDPMPipeline

        def chain() -> None:
            pipeline: Any = DDPMPipeline.from_pretrained(setting.prior_folder)
            pipeline.set_progress_bar_config(disable=True)
            pipeline.to(device)(num_inference_steps=setting.chain, generator=torch.Generator().manual_seed(0))

        with arithmetic(None):
            taken = clocked(chain, device)
            return Sample(taken, one_evaluation(diffusers_network(setting.prior_folder, device), picture, device))

    def floor() -> Floor:
        cost = facts["cost"]
        whole = cost["total_evaluations_worth"] * cost["evaluation_gflop"]
        return Floor(whole, matrix_rate(device, facts["environment"]["precision"]))

    return Pair(
        Side("sample.py's job", ours),
        Side(f"DDPMPipeline, {setting.chain} steps", theirs),
        lambda a, b: same_evaluation(a, b, facts["environment"]["precision"]),
        floor=floor,
        warm_up=False,
        notes=[f"job: {c.dip.network.name}, at most {c.dip.max_epochs} epochs, window from {c.ddpm.start_t}"],
    )


def memory_pair(setting: Setting, device: str) -> Pair:
    """Return the peak memory of a whole job against that of the weights and one evaluation, in MiB without imports.

    The peak does not depend on the number of epochs and levels, so there are few. Each side is a process of its own.
    """

    def peak(what: str) -> Sample:
        command = [sys.executable, "-m", "bench.memory", what, str(setting.prior_folder), str(setting.large), device]
        done = subprocess.run(command, cwd=CLONE, capture_output=True, text=True)
        if done.returncode:
            last = " ".join(done.stderr.strip().splitlines()[-1:])
            raise CannotMeasure(f"the process that measures ended with an error: {last}")
        told = json.loads(done.stdout.splitlines()[-1])
        return Sample(told["mib"], told["ended"])

    return Pair(
        Side("whole job", lambda: peak("job")),
        Side("weights and one evaluation", lambda: peak("evaluation")),
        lambda a, b: Quality("ended", str(a), str(b), a == b == "well"),
        unit="MiB",
        warm_up=False,
        rounds=min(2, setting.rounds),
        notes=["the memory after the imports is taken off on both sides"] if device == "cpu" else [],
    )


ORIGINAL = ("experiment=original",)
FAST = ("experiment=fast",)
JOB = "the original's whole job at 256x256: fit and 100 levels"
EVALUATION = "one evaluation of the 256x256 network"
ROWS = (
    Row("evaluation", f"{EVALUATION}, fp32", "diffusers' UNet2DModel", Limit("at least", 1.0), "cpu",
        lambda s: evaluation_pair(s, "cpu", "fp32")),
    Row("evaluation-bf16", f"{EVALUATION}, bf16", "diffusers' UNet2DModel", Limit("at least", 2.0), "cpu",
        lambda s: evaluation_pair(s, "cpu", "bf16")),
    Row("memory", "peak memory of the whole job at 256x256", "weights and one evaluation", Limit("at most", 1.5), "cpu",
        lambda s: memory_pair(s, "cpu")),
    Row("gpu-job", JOB, "diffusers' DDPMPipeline, 1000 steps", Limit("at least", 8), "cuda",
        lambda s: job_pair(s, ORIGINAL, "cuda")),
    Row("gpu-fast", "experiment=fast at 256x256", "diffusers' DDPMPipeline, 1000 steps", Limit("at least", 15), "cuda",
        lambda s: job_pair(s, FAST, "cuda")),
    Row("gpu-evaluation", f"{EVALUATION}, bf16", "diffusers' UNet2DModel", Limit("at least", 3), "cuda",
        lambda s: evaluation_pair(s, "cuda", "bf16")),
    Row("gpu-memory", "peak memory of the whole job at 256x256", "weights and one evaluation", Limit("at most", 1.5),
        "cuda", lambda s: memory_pair(s, "cuda")),
)  # fmt: skip
