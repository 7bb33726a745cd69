"""Small DIPs of smooth pictures."""

import torch

from dipddpm.degradation.masks import Mask
from dipddpm.degradation.scaling import Downscale
from dipddpm.dip.block import Block
from dipddpm.dip.module import DeepImagePrior
from dipddpm.dip.settings import DipSettings

SMALL = DipSettings(layers=1, channels=8, lr=5e-3, final_relu=False, precision="fp32")
OPERATORS = (None, Mask(0.5), Downscale(2))


def clean(n=1, size=(18, 22)):
    """Smooth pictures, of which no two are alike."""
    rows, columns = torch.meshgrid(torch.linspace(0, 1, size[0]), torch.linspace(0, 1, size[1]), indexing="ij")
    return torch.stack([torch.stack([rows, columns.roll(i, 1), rows * columns]) * 0.8 + 0.1 for i in range(n)])


def module_of(problem, settings):
    return DeepImagePrior(problem.noisy, problem.clean, y=problem.y, operator=problem.operator, settings=settings,
                          contents=problem.contents)  # fmt: skip


def gradient_of(problem, settings):
    """Return the gradient of the loss by the output of a new module, and that output."""
    module = module_of(problem, settings)
    output = module(module.z).detach().requires_grad_()
    losses, _ = Block(module, torch.optim.Adam(module.net.parameters()))._losses(output)
    (gradient,) = torch.autograd.grad(losses.sum(), output)
    return gradient, output.detach()
