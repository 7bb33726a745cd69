"""Names and limits that several packages share. Each stands once, here. Imports no torch."""

from __future__ import annotations

from enum import Enum

T = 1000  # levels of every supported schedule (Ho et al., https://arxiv.org/abs/2006.11239)
SMALLEST = 8  # pixels a side of a picture
RESTORATIONS = ("noisy", "dip", "result", "posterior_mean", "noisy_window")  # rows of metrics.json, each with a picture
PICTURES = ("clean", "masked", "downscaled", "panel", "fit", "strip")  # a run's others
# The names of all, as patterns; a row of several samples has a picture each.
LEFT = (*(f"{name}.png" for name in (*RESTORATIONS, *PICTURES)), *(f"{name}-[0-9]*.png" for name in RESTORATIONS))
BASELINES = ("posterior_mean", "noisy_window")  # of these the two starts that need no DIP
QUALITIES = {"psnr": ("PSNR (dB)", 2), "ssim": ("SSIM", 3), "stlpips": ("ST-LPIPS", 3)}  # of a row: title, decimals
SCRIPTS = {"fit": "train_dip.py", "sample": "sample.py"}  # the entry points, by what they run
STOPPED = "stopped by a signal"  # what error.txt says of a job that did not fail
MACHINE = ("threads", "device", "panel_every")  # keys that say how a job runs and not what: a done job stays done
CHECKPOINTS = ("stop", "last", "oracle", "none")  # the words that `checkpoint` takes (dipddpm/config/checkpoint.py)
STLPIPS_SMALLEST = 21  # pixels a side that ST-LPIPS needs
MEASURED = tuple(f"{row}.{figure}" for row in ("result", "dip") for figure in QUALITIES)  # against a clean picture
LOOKS = tuple(o for o in MEASURED if o.endswith(".stlpips"))  # of these the distances: less is better
OBJECTIVES = (
    *MEASURED,
    *(f"cost.{figure}" for figure in ("total_seconds", "total_evaluations_worth", "fit_seconds")),
    "result.nfe",
)

# The words that keys of the configuration take.
ImageKind = Enum("ImageKind", "clean noisy")  # of the picture given: noise is added to it, or it is y itself
NoiseKind = Enum("NoiseKind", "gaussian poisson impulse correlated none own")  # own: the noise of a picture that is y
OperatorKind = Enum("OperatorKind", "identity mask downscale")
Network = Enum("Network", "cnn skip")
Rule = Enum("Rule", "loss_floor wmv emv never")
Precision = Enum("Precision", "fp32 bf16")
Init = Enum("Init", "raw scaled diffused matched noise")
Scheduler = Enum("Scheduler", "ddpm ddim")
FitMode = Enum("FitMode", "auto never")
NOISES = tuple(name for name in NoiseKind.__members__ if name != "own")  # those that can be added
OPERATORS, NETWORKS, RULES, PRECISIONS, INITS, SCHEDULERS = (
    tuple(kind.__members__) for kind in (OperatorKind, Network, Rule, Precision, Init, Scheduler)
)
FIT_VERSION = 1  # of the fits in a store; raise it when the same request would no longer give the same fit
