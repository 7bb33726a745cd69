"""Start a DDPM late in its chain, from a Deep Image Prior.

    import dipddpm as dd

    clean = dd.read_picture("astronaut", size=64)                     # (1, 3, 64, 64), in [0, 1]
    problem = dd.degrade(clean, noise=dd.Gaussian(25))                # or dd.Problem(y, sigma=25) for a noisy y
    fit = dd.fit_dip(problem, network="skip")                         # .picture, .epoch, .curves
    prior = dd.load_prior("faces64")                                  # or a folder, or a name on the Hub
    window = dd.Window(50, steps=10, scheduler="ddim")
    result = dd.restore(prior, fit.picture, window, problem)          # .picture, .nfe, .seconds

The public names are listed in ``__init__.pyi``. Each is imported when it is used.

The conventions of the package:

**Pictures** are RGB, float32, shape (N, 3, H, W), in [0, 1]. **Diffusion states** are pictures mapped to [-1, 1]
(`dipddpm.diffusion.schedule.to_state` and `to_picture`). Noise strengths that a user types are on the 0-255 scale. The
noisy picture ``y = A x + noise`` is neither clipped nor quantised.

**Noise level**, or level: t in 0..T, where T is the prior's number of levels, most often 1000. Level 0 is the clean
picture: ``alpha_bar(0) = 1``. Above it ``alpha_bar(t) = scheduler.alphas_cumprod[t - 1]``, and the network receives the
index t - 1. The sigma of a level on the 0-255 scale is ``127.5 sqrt((1 - alpha_bar) / alpha_bar)``.

**Window**: the steps from level ``start_t`` down to level ``end_t``; start_t - end_t evaluations at stride 1. A result
at ``end_t > 0`` is still noisy.

**Init**: the rule for the state at ``start_t``, from p = picture in [-1, 1] with rms error r (in the same units):
``raw`` p; ``scaled`` sqrt(ab) p; ``diffused`` sqrt(ab) p + sqrt(1 - ab) eps;
``matched`` sqrt(ab) p + sqrt(max(0, (1 - ab) - ab r^2)) eps; ``noise`` eps. Here ab = ``alpha_bar(start_t)``.

**Epoch**: ``steps_per_epoch`` optimiser steps on the one picture, counted from 1. The loss logged for epoch e belongs
to the weights before its first step. The **kept picture** of epoch e is the average of the outputs up to it
(``dip.ema``).

**NFE**: network evaluations of the DDPM per picture. **Evaluations-worth**: floating-point operations divided by those
of one evaluation (`dipddpm.metrics.operations`). They are the same on every machine and under any load.

**PSNR**: of the output clipped to [0, 1], with data range 1, per picture, then the mean over pictures.

**Seeds**: every draw comes from a CPU ``torch.Generator`` derived from (seed, purpose, content hash of the picture,
sample index). Noise and initial states are bit-equal across devices and batch sizes. Network outputs are not: float32
differs by about 1e-5 between a batch and its single pictures.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
