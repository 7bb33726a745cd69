"""Overrides: odd values of every key, keys and options that do not exist, requests that are too large."""

from __future__ import annotations

import random
from pathlib import Path

from campaign.bad_input.case import EXECUTED, FIT, WINDOW, Case, replaced

RANDOM = 150  # of the pairs of a key and a value
KEYS = (
    *("image.size", "image.box", "image.reference", "noise.sigma", "noise.correlation", "noise.kind"),
    *("operator.kind", "operator.missing", "operator.file", "operator.factor", "dip.layers", "dip.channels"),
    *("dip.kernel_size", "dip.lr", "dip.max_epochs", "dip.steps_per_epoch", "dip.checkpoint_every", "dip.input_noise"),
    *("dip.ema", "dip.precision", "dip.final_relu", "dip.network", "stopping.threshold", "stopping.patience"),
    *("stopping.rule", "ddpm.start_t", "ddpm.end_t", "ddpm.steps", "ddpm.samples", "ddpm.seed", "ddpm.error_sigma"),
    *("ddpm.snapshot_every", "ddpm.init", "ddpm.scheduler", "seed", "threads", "device", "panel_every", "checkpoint"),
    *("objective", "store", "fit", "baselines", "prior.path", "prior.revision", "prior.repo"),
)
NEEDS = {  # the choice that has a key
    "image.reference": "image=noisy",
    "noise.correlation": "noise=correlated",
    "operator.missing": "operator=mask",
    "operator.file": "operator=mask",
    "operator.factor": "operator=downscale",
    "prior.repo": "prior=celebahq256",
    "prior.revision": "prior=celebahq256",
}
VALUES = (
    *("nan", "inf", "-inf", "1e400", "1e-400", "-1", "0", "-0", "1e30", "9" * 26, "1.5", "true", "null", "x", "''"),
    *("[]", "[1,2]", "{}", "{a:1}", "'1'", "\u0661", "\u221e", "0x10", "1_000", "???", "+5", "1,", "range(1,3)"),
    *("choice(1,2)", "${seed}", "${oc.env:HOME}", "${oc.env:NOSUCH}", "${nosuch}", "${now:%s}", "${oc.decode:'1'}"),
    *(f"$(touch {EXECUTED})", f"!!python/object/apply:os.system ['touch {EXECUTED}']", "${oc.create:{a:1}}", "${dip}"),
    *("${", "}", "[", "{", "'", '"', "(", "\\", "a b", "a\nb", "\u202e", "%", "~"),
)
SINGLE = (
    *("~dip", "~dip.layers", "~hydra", "~nosuch", "+dip.layers=3", "++dip.lyers=3", "+x=1", "+dip=cnn", "dip=cnn,skip"),
    *("dip=nosuch", "dip=../dip/cnn", "experiment=../../x", "experiment=inpaint,superres", "image=../image/file"),
    *("=1", "==", "dip.layers", "dip.layers=", "dip.layers==4", ".=1", "dip..layers=1", "dip.layers.x=1", "lr=0.1"),
    *("image.box.0=1", "objective.0=x", "objective[5]=x", "degrade=none", "dip.layers=1 dip.layers=2"),
    *("hydra.run.dir=", "hydra.run.dir=/proc/x", "hydra.run.dir=/dev/null/x", "hydra.run.dir=${nosuch}"),
    *("hydra.mode=X", "hydra.output_subdir=../../../x", "hydra/launcher=nosuch", "hydra/sweeper=nosuch"),
    *("hydra.searchpath=3", "hydra.callbacks.study._target_=os.system", "--nosuch", "--cfg nosuch", "--run -m"),
    *("-c job -m", "--config-name nosuch", "--config-path /nosuch", "--config-dir /nosuch", "--package nosuch"),
    *("store=/proc/nosuch", "store=/dev/null/fits", "store=/etc/passwd", "store=", f"store={'x' * 300}"),
    *("store=2026_11_27", "checkpoint=x.safetensors", "checkpoint=/etc/passwd", "checkpoint=-5", "checkpoint=15"),
    *("checkpoint=99999999999999999990", "checkpoint=STOP", "image.size=2000000000", "dip.channels=1000000000"),
    *("dip.layers=1000000", "dip.kernel_size=99999999", "ddpm.samples=100000000", "dip.steps_per_epoch=1e21"),
    *("dip.max_epochs=9999999999999999999999", "seed=-1", f"seed={2**64}", "threads=1000000000", "device=cuda:99"),
    *("device=meta", "prior.path=/", "prior.path=.", "prior.name=../..", "noise=impulse noise.sigma=1e9"),
    *("noise=poisson noise.sigma=1e-300", "noise.sigma=1e308", "noise=correlated noise.correlation=1000000"),
    *("operator=downscale operator.factor=1000000000000", "operator=mask operator.missing=0.99999999"),
    *("stopping=emv stopping.patience=100000000000000000000000", "panel_every=100000000000000000000000"),
)
SWEPT = (
    *("seed=1,nan", "dip.layers=1,x", "dip.layers=1,99", "seed=range(0,1e9)", "seed=range(0,1000000)", "seed=1,1"),
    *("ddpm.start_t=1,5000", "dip.layers=interval(1,2)", "threads=1,2", "seed=choice()", "hydra.sweep.dir=/dev/null/x"),
    *("hydra/launcher=submitit_slurm seed=1,2", "hydra.launcher.n_jobs=x hydra/launcher=joblib seed=1,2"),
    *("hydra/launcher=joblib hydra.launcher.n_jobs=0 seed=1,2", "hydra/sweeper=optuna seed=interval(0,x)"),
    *("experiment=search hydra.sweeper.n_trials=-1", "experiment=search hydra.sweeper.storage=nosuch://x"),
)


def overrides(folder: Path, rng: random.Random) -> list[Case]:
    """Return the cases; they need no files."""
    cases = []
    for _ in range(RANDOM):
        key, value = rng.choice(KEYS), rng.choice(VALUES)
        command = WINDOW if key.startswith(("ddpm", "prior")) else rng.choice((FIT, WINDOW))
        needs = [NEEDS[key]] if key in NEEDS else []
        cases.append(Case(f"{key}={value!r}", [*replaced(command, f"{key}={value}"), *needs]))
    for text in SINGLE:
        command = WINDOW if text.startswith(("ddpm", "prior")) else rng.choice((FIT, WINDOW))
        cases.append(Case(text[:60], [*_without(command, text), *text.split(" ")]))
    sweep = [WINDOW[0], "-m", *WINDOW[1:]]
    return cases + [Case(f"-m {text}", [*_without(sweep, text), *text.split(" ")]) for text in SWEPT]


def _without(command: list[str], text: str) -> list[str]:
    """Return a command without the keys of a text of overrides."""
    keys = {part.partition("=")[0] for part in text.split(" ")}
    return [a for a in command if a.partition("=")[0] not in keys]
