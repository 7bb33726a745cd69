"""The ranges of the configuration's values. A refusal has the key as typed, the value given and the values allowed."""

from __future__ import annotations

import math
import os
import re
from dataclasses import asdict

from dipddpm.config.checkpoint import check_kept, parse
from dipddpm.config.degradation_ranges import check_degradation
from dipddpm.config.schema import Config, CorrelatedNoise, DdpmConfig, DipConfig, FolderImage, has_clean
from dipddpm.errors import UserError, need, suggestion
from dipddpm.files import flat
from dipddpm.names import HELD_OUT, LARGEST_NUMBER, MOST_HELD_OUT, MOST_LAYERS, OBJECTIVES, most_halvings

DRAWLESS = ("raw", "scaled", "ddim", "dpmpp")  # inits and schedulers that draw no noise


def check(c: Config) -> None:
    """Refuse values outside their ranges.

    Raises:
        UserError: One line with the key as typed, the value given and the values allowed.
    """
    for key, value in flat(asdict(c)).items():
        large = _is_int(value) and abs(value) > LARGEST_NUMBER and key.rpartition(".")[2] != "seed"
        need(not large, key, value, f"a whole number up to {LARGEST_NUMBER}")
    dip, stopping = c.dip, c.stopping
    check_degradation(c)
    _check_network(dip)
    need(0 < dip.lr < math.inf, "dip.lr", dip.lr, "above 0")
    for name in ("max_epochs", "steps_per_epoch", "checkpoint_every"):
        need(getattr(dip, name) >= 1, f"dip.{name}", getattr(dip, name), "1 or more")
    need(dip.max_epochs >= dip.checkpoint_every, "dip.max_epochs", dip.max_epochs,
         f"{dip.checkpoint_every} or more, the first epoch that is kept (dip.checkpoint_every)")  # fmt: skip
    need(0 <= dip.input_noise < math.inf, "dip.input_noise", dip.input_noise, "0 or more (picture units)")
    need(0 <= dip.ema < 1, "dip.ema", dip.ema, "from 0 (the newest output) to below 1")
    _check_holdout(c)
    batch_ok = dip.batch == "auto" or (_is_int(dip.batch) and dip.batch >= 1)
    need(batch_ok, "dip.batch", dip.batch, "auto, or 1 or more fits at once")
    need(stopping.threshold is None or 0 < stopping.threshold < math.inf, "stopping.threshold",
         stopping.threshold, "a mean squared error above 0, or null")  # fmt: skip
    need(stopping.patience is None or stopping.patience >= 1, "stopping.patience", stopping.patience, "1 epoch or more")
    need(bool(re.fullmatch(r"auto|cpu|cuda(:\d+)?", c.device)), "device", c.device, "auto, cpu, cuda or cuda:<number>")
    need(c.threads is None or 1 <= c.threads <= 1024, "threads", c.threads, "from 1 to 1024, or null")
    need(c.panel_every >= 1, "panel_every", c.panel_every, "1 epoch or more")
    need(c.prior.revision is None or c.prior.repo is not None, "prior.revision", c.prior.revision,
         f"null, because prior={c.prior.name} has no prior.repo")  # fmt: skip
    need(bool(c.store), "store", c.store, "a folder for the fits, such as outputs/fits")
    need(bool(c.objective), "objective", c.objective, "a list of figures, such as [result.psnr]")
    for name in c.objective:
        need(name in OBJECTIVES, "objective", name, f"one of {', '.join(OBJECTIVES)}{suggestion(name, OBJECTIVES)}")
    of_dip = [o for o in c.objective if o.startswith("dip.")]
    need(not of_dip or c.checkpoint != "none", "objective", ",".join(of_dip),
         "a figure of the result, such as result.psnr, because checkpoint=none fits no DIP")  # fmt: skip
    _check_checkpoint(c)
    _check_window(c.ddpm)
    many = isinstance(c.image, FolderImage)
    need(not many or c.ddpm.samples == 1, "ddpm.samples", c.ddpm.samples,
         "1 with image=folder; for more samples of one picture type image=file image.path=<file>")  # fmt: skip


def _check_holdout(c: Config) -> None:
    share = c.dip.holdout
    need(share is None or 0 <= share <= MOST_HELD_OUT, "dip.holdout", share,
         f"a share of the values of y from 0 (none) to {MOST_HELD_OUT}, or null")  # fmt: skip
    rule = c.stopping.rule.name == "holdout"
    if (rule or share) and isinstance(c.noise, CorrelatedNoise):
        typed = "stopping=holdout" if rule else f"dip.holdout={share:g}"
        way_out = " and ".join(["type stopping=loss_floor"] * rule + ["leave dip.holdout out"] * bool(share))
        raise UserError(
            f"{typed} is not allowed with noise=correlated, because the neighbours of a held-out value tell its noise: "
            f"{way_out}"
        )
    if rule and share == 0:
        raise UserError(
            f"stopping=holdout needs held-out values, and dip.holdout={share:g} holds none out: leave dip.holdout out, "
            f"or type dip.holdout={HELD_OUT}"
        )


def _check_network(d: DipConfig) -> None:
    skip = d.network.name == "skip"
    least, what = (1, "halvings (dip=skip)") if skip else (0, "hidden layers")
    need(d.layers >= least, "dip.layers", d.layers, f"{least} or more {what}")
    need(d.layers <= MOST_LAYERS, "dip.layers", d.layers, f"at most {MOST_LAYERS} {what}")
    need(d.channels >= 1, "dip.channels", d.channels, "1 or more")
    odd = d.kernel_size >= 1 and d.kernel_size % 2 == 1
    need(odd, "dip.kernel_size", d.kernel_size, "an odd number, such as 3 or 5")
    need(not (skip and d.final_relu), "dip.final_relu", d.final_relu,
         "false for the skip network, which ends in a sigmoid; type dip=skip dip.final_relu=false")  # fmt: skip


def check_halvings(d: DipConfig, size: int) -> None:
    """Refuse a skip network whose coarsest resolution is too small to be normalised, or to be padded by reflection.

    Args:
        d: The network's settings.
        size: Pixels a side of the picture.

    Raises:
        UserError: One line with the largest ``dip.layers`` for a picture of this size.
    """
    if d.network.name != "skip":
        return
    most = most_halvings(size, d.kernel_size)
    need(d.layers <= most, "dip.layers", d.layers,
         f"at most {most} with dip=skip at {size}x{size}, because each layer halves the picture"
         + f"; type dip.layers={most}" * bool(most))  # fmt: skip


def check_memory(c: Config, size: int) -> None:
    """Refuse a network, or a number of samples, that cannot fit into the memory of this machine.

    Counted are the least numbers that must be held at once: weights, gradients and both averages of Adam, the outputs
    of the layers, and the states of the samples.

    Args:
        c: The configuration, checked.
        size: Pixels a side of the picture.

    Raises:
        UserError: One line with the memory needed and the memory that there is.
    """
    d, gb = c.dip, 1e9
    weights = d.channels * d.kernel_size**2 * (d.layers * d.channels + 6)
    outputs = d.channels * size**2 * (1 if d.network.name == "skip" else d.layers + 1)
    layers = f"dip.layers={d.layers} dip.channels={d.channels} dip.kernel_size={d.kernel_size}"
    samples = 3 * 3 * size**2 * c.ddpm.samples
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    fits = parse(c.checkpoint).fits
    for typed, numbers in ((layers, (4 * weights + outputs) * fits), (f"ddpm.samples={c.ddpm.samples}", samples)):
        if 4 * numbers > there:
            raise UserError(
                f"{typed} would need {4 * numbers / gb:.3g} GB of memory at {size}x{size}, and this machine has "
                f"{there / gb:.0f} GB: type smaller numbers"
            )


def _check_checkpoint(c: Config) -> None:
    given = parse(c.checkpoint)
    if given.epoch is not None:
        check_kept(given.epoch, c.dip.checkpoint_every)
    many = isinstance(c.image, FolderImage)
    if given.kind == "file" and many:
        raise UserError(
            f"checkpoint={c.checkpoint} is the picture of one fit, and image=folder has many pictures: type "
            "checkpoint=stop, checkpoint=last, an epoch or checkpoint=none"
        )
    if given.kind == "oracle" and not has_clean(c):
        noisy, give = ("noise=own", "") if many else ("image=noisy", "image.reference=<file>, ")
        raise UserError(
            f"checkpoint=oracle needs a clean picture, and {noisy} has none: type {give}checkpoint=stop, "
            "checkpoint=last or an epoch"
        )


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_window(d: DdpmConfig) -> None:
    start_ok = d.start_t == "auto" or (_is_int(d.start_t) and d.start_t >= 1)
    need(start_ok, "ddpm.start_t", d.start_t, "auto or a noise level of 1 or more")
    need(d.end_t >= 0, "ddpm.end_t", d.end_t, "a noise level of 0 or more, below ddpm.start_t")
    if isinstance(d.start_t, int):
        below = f"a noise level below ddpm.start_t={d.start_t}, from 0 to {d.start_t - 1}"
        need(d.end_t < d.start_t, "ddpm.end_t", d.end_t, below)
        span = d.start_t - d.end_t
        need(d.steps is None or d.steps <= span, "ddpm.steps", d.steps,
             f"from 1 to {span}, the number of levels from ddpm.start_t down to ddpm.end_t")  # fmt: skip
    need(d.steps is None or d.steps >= 1, "ddpm.steps", d.steps, "1 or more, or null")
    need(d.samples >= 1, "ddpm.samples", d.samples, "1 or more")
    need(d.snapshot_every >= 1, "ddpm.snapshot_every", d.snapshot_every, "1 level or more")
    need(0 < d.prior_weight < math.inf, "ddpm.prior_weight", d.prior_weight, "above 0")
    if d.data_consistency is False and d.consistency.name != "auto":
        raise UserError(
            f"ddpm.consistency={d.consistency.name} agrees with y, and ddpm.data_consistency=false does not: leave one "
            "of them out"
        )
    known = d.error_sigma is None or 0 < d.error_sigma < math.inf
    need(known, "ddpm.error_sigma", d.error_sigma, "above 0 (0-255 scale)")
    if d.samples > 1 and d.init.name in DRAWLESS:
        if d.scheduler.name in DRAWLESS:
            why = f"ddpm.scheduler={d.scheduler.name}"
            raise _one_picture(d, why, "ddpm.scheduler=ddpm or ddpm.init=diffused")
        if d.end_t == 0 and 1 in (d.start_t, d.steps):
            raise _one_picture(d, "one step to level 0", "or ddpm.init=diffused")


def check_levels(d: DdpmConfig, levels: int) -> None:
    """Refuse a window outside the noise levels of its prior, 1 to ``levels``.

    Raises:
        UserError: One line with the levels that the prior has.
    """
    need(d.start_t == "auto" or d.start_t <= levels, "ddpm.start_t", d.start_t,
         f"auto or a noise level of this prior, from 1 to {levels}")  # fmt: skip
    need(d.end_t < levels, "ddpm.end_t", d.end_t, f"a noise level from 0 to {levels - 1}, below ddpm.start_t")


def _one_picture(d: DdpmConfig, why: str, way_out: str) -> UserError:
    """Return the refusal of several samples of a window that draws no noise."""
    return UserError(
        f"ddpm.samples={d.samples} would give the same picture {d.samples} times: {why} from "
        f"ddpm.init={d.init.name} draws no noise; type ddpm.samples=1, {way_out}"
    )
