"""The public names of the package. `dipddpm/__init__.py` imports each one when it is used."""

from .degradation.blur import Blur
from .degradation.chain import BlurDownscale, Chain
from .degradation.clip import Clip
from .degradation.function import Callable
from .degradation.jpeg import Jpeg
from .degradation.masks import Mask
from .degradation.noise import NOISES, Correlated, Gaussian, Impulse, Noise, NoNoise, Poisson, RandomImpulse
from .degradation.operators import OPERATORS, Identity, Operator
from .degradation.problem import Problem, degrade
from .degradation.scaling import BicubicDownscale, Downscale
from .degradation.sensing import Sensing
from .diffusion.inits import INITS
from .diffusion.pipeline import WindowPipeline
from .diffusion.prior import Prior, load_prior
from .diffusion.restore import Restoration, iterate, posterior_mean, restore
from .diffusion.sampler import Snapshot
from .diffusion.window import Window
from .dip.curves import Curves
from .dip.networks import NETWORKS
from .dip.settings import DipSettings
from .dip.stopping import RULES, Stop, Stopping
from .errors import UserError
from .fits.fit import FittedDip, fit_dip
from .fits.load import LoadedFit, load_fit
from .metrics.perceptual import stlpips
from .metrics.quality import psnr, ssim
from .pictures.read import read_picture
from .pictures.write import save_picture
from .study import read_frame

__all__ = [
    "BicubicDownscale",
    "Blur",
    "BlurDownscale",
    "Callable",
    "Chain",
    "Clip",
    "Correlated",
    "Curves",
    "DipSettings",
    "Downscale",
    "FittedDip",
    "Gaussian",
    "INITS",
    "Identity",
    "Impulse",
    "Jpeg",
    "LoadedFit",
    "Mask",
    "NETWORKS",
    "NOISES",
    "NoNoise",
    "Noise",
    "OPERATORS",
    "Operator",
    "Poisson",
    "Prior",
    "Problem",
    "RULES",
    "RandomImpulse",
    "Restoration",
    "Sensing",
    "Snapshot",
    "Stop",
    "Stopping",
    "UserError",
    "Window",
    "WindowPipeline",
    "degrade",
    "fit_dip",
    "iterate",
    "load_fit",
    "load_prior",
    "posterior_mean",
    "psnr",
    "read_frame",
    "read_picture",
    "restore",
    "save_picture",
    "ssim",
    "stlpips",
]
