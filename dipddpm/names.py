"""Names and limits that several packages share. Each stands once, here. Imports no torch."""

from __future__ import annotations

import math
from enum import Enum

SMALLEST = 8  # pixels a side of a picture
LARGEST = 8192  # pixels a side of a picture that is restored
RESTORATIONS = ("noisy", "dip", "result", "posterior_mean", "noisy_window")  # rows of metrics.json, each with a picture
SHOWN = ("masked", "downscaled", "blurred", "sensed", "compressed", "clipped")  # y of each operator, as it is shown
PICTURES = ("clean", *SHOWN, "panel", "fit", "strip", "sheet")  # the other pictures of a run
# Patterns of all picture files of a run. A row of several samples has one picture a sample.
PICTURE_FILES = (
    *(f"{name}.png" for name in (*RESTORATIONS, *PICTURES)),
    *(f"{name}-[0-9]*.png" for name in RESTORATIONS),
)
RESULTS, TABLE = "results", "pictures.csv"  # with image=folder: the folder of the results, and a row for each picture
TEXTS = ("config.yaml", "metrics.json", "error.txt")  # the files of a run that are no pictures
TRAINING = "training"  # folder of a prior for the files that only its training needs
BASELINES = ("posterior_mean", "noisy_window")  # rows of the two starts without a DIP
QUALITIES = {"psnr": ("PSNR (dB)", 2), "ssim": ("SSIM", 3), "stlpips": ("ST-LPIPS", 3)}  # title and decimals of each
SCRIPTS = {"fit": "train_dip.py", "sample": "sample.py"}  # the script of each command
MOST_LAYERS = 1000  # of a network: it takes minutes to build a million
SECOND_FIT = "second fit"  # a source of the error of a start (dipddpm/fits/second.py)
HELD_OUT, MOST_HELD_OUT = 0.05, 0.5  # shares of y that a fit does not see: of stopping=holdout, and the largest
MOST_JOBS = 10_000  # of a sweep: each is checked before the first one starts
STOPPED = "stopped by a signal"  # the line in error.txt of a job that was stopped and did not fail
MACHINE = ("threads", "device", "panel_every", "dip.batch")  # do not change the result: a done job stays done
CHECKPOINTS = ("stop", "last", "oracle", "none")  # the words that `checkpoint` takes (dipddpm/config/checkpoint.py)
STLPIPS_SMALLEST = 21  # pixels a side that ST-LPIPS needs
MEASURED = tuple(f"{row}.{figure}" for row in ("result", "dip") for figure in QUALITIES)  # these need a clean picture
LOOKS = tuple(o for o in MEASURED if o.endswith(".stlpips"))  # distances: less is better
OBJECTIVES = (
    *MEASURED,
    *(f"cost.{figure}" for figure in ("total_seconds", "total_evaluations_worth", "fit_seconds")),
    "result.nfe",
)

LARGEST_OUTPUT = 1e6  # of a network: a larger one is neither noise nor picture; up to it all states stay finite
LARGEST_NUMBER = 2**31 - 1  # of whole numbers that are no seeds


class Word(Enum):
    """A word that a key of the configuration takes. Its text is the word, also in the completion of a shell."""

    def __str__(self) -> str:
        return self.name


# The words that keys of the configuration take.
ImageKind = Word("ImageKind", "clean noisy folder")  # clean: noise is added to the picture; noisy: the picture is y
# own: the noise that y has already
NoiseKind = Word("NoiseKind", "gaussian poisson impulse random_impulse correlated none own")
OperatorKind = Word("OperatorKind", "identity mask downscale blur blur_downscale sensing jpeg clip")
Method = Word("Method", "mean bicubic")  # of a smaller picture
Transform = Word("Transform", "dct hadamard")
Chroma = Word("Chroma", "half full")  # of a JPEG: resolution of the colours
Border = Word("Border", "reflect circular")  # of a blurred picture: its mirror image follows, or its opposite side
Network = Word("Network", "cnn skip")
Rule = Word("Rule", "loss_floor wmv emv holdout never")
Loss = Word("Loss", "mse l1")  # of a fit: mean squared, or mean absolute error over the values of y
Precision = Word("Precision", "fp32 tf32 bf16 auto")  # of arithmetic; auto: what the device is fast in
Init = Word("Init", "raw scaled diffused matched noise")
Scheduler = Word("Scheduler", "ddpm ddim dpmpp")
Form = Word("Form", "auto ddnm diffpir gradient dip dps")  # of data consistency (dipddpm/diffusion/agreement.py)
FitMode = Word("FitMode", "auto never")
NOISE_SHOWS = ("identity", "blur", "clip")  # operators after which the noise of y can be estimated
NOISES = tuple(name for name in NoiseKind.__members__ if name != "own")  # kinds that can be added
OPERATORS, BORDERS, TRANSFORMS, NETWORKS, LOSSES, RULES, PRECISIONS, INITS, SCHEDULERS, FORMS = (
    tuple(kind.__members__)
    for kind in (OperatorKind, Border, Transform, Network, Loss, Rule, Precision, Init, Scheduler, Form)
)
KERNELS = {"gaussian": ("width",), "motion": ("length", "angle")}  # of a blur, with the keys that shape them
FIT_VERSION = 2  # part of a fit's key; raise it when the same request no longer gives the same fit


def most_halvings(size: int, kernel_size: int) -> int:
    """Return how often the skip network can halve a picture.

    The coarsest resolution must be large enough to be normalised, and to be padded by reflection.

    Args:
        size: The shorter side of the picture, in pixels.
        kernel_size: Side of the network's convolutions, in pixels.
    """
    least = max(2, kernel_size // 2 + 1)
    return max((n for n in range(size.bit_length()) if math.ceil(size / 2**n) >= least), default=0)
