"""Faster parts for diffusers' UNet2DModel, where no gradient is wanted.

A residual block writes into its own results: it makes no copy for its activations, its sums and its division by 1. The
values are bit-equal.

On a GPU, group norms of bfloat16 are computed by reductions over all its thread blocks, and round otherwise. PyTorch
computes the moments of a group in one thread block, and copies a picture in channels_last to the other order. At
256x256 this takes half of an evaluation's time.
"""

from __future__ import annotations

import math
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from diffusers.models.resnet import ResnetBlock2D


def lighten(network: torch.nn.Module) -> None:
    """Give a network the faster parts. Residual blocks that are not plain stay as they are."""
    from diffusers.models.resnet import ResnetBlock2D

    for block in network.modules():
        if isinstance(block, ResnetBlock2D) and _is_plain(block):
            block.forward = MethodType(_forward, block)
        if isinstance(block, torch.nn.GroupNorm) and block.affine:
            block.forward = MethodType(_normalise, block)


def _is_plain(block: ResnetBlock2D) -> bool:
    resamples = block.upsample is not None or block.downsample is not None
    adds_time = block.time_embedding_norm == "default" and block.time_emb_proj is not None and not block.skip_time_act
    return adds_time and not resamples and isinstance(block.nonlinearity, torch.nn.SiLU)


def _forward(self: Any, x: torch.Tensor, temb: torch.Tensor) -> torch.Tensor:
    """Return the sum of x and the block's two convolutions, shape (N, C, H, W), as `ResnetBlock2D.forward` does."""
    if torch.is_grad_enabled() or self.training:
        return type(self).forward(self, x, temb)
    h = self.conv1(F.silu(self.norm1(x), inplace=True))
    h += self.time_emb_proj(F.silu(temb))[:, :, None, None]
    h = self.conv2(F.silu(self.norm2(h), inplace=True))
    h += x if self.conv_shortcut is None else self.conv_shortcut(x)
    return h if self.output_scale_factor == 1 else h.div_(self.output_scale_factor)


def _normalise(self: torch.nn.GroupNorm, x: torch.Tensor) -> torch.Tensor:
    """Return the group norm of x, by `group_norm` where that is faster."""
    if x.is_cuda and x.dtype == torch.bfloat16 and x.ndim == 4 and not torch.is_grad_enabled():
        return group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
    return type(self).forward(self, x)


def group_norm(
    x: torch.Tensor, groups: int, weight: torch.Tensor, bias: torch.Tensor, eps: float = 1e-5
) -> torch.Tensor:
    """Return the group norm of x as a scale and a shift of each channel, from moments in float32.

    Reference: Wu and He, Group Normalization, 2018, https://arxiv.org/abs/1803.08494.

    Args:
        x: Shape (N, C, H, W), in any memory format. The result has its shape and type.
        groups: Number of groups, a divisor of C.
        weight: Scale of each channel, shape (C,).
        bias: Shift of each channel, shape (C,).
        eps: Number that is added to the variance.
    """
    # An operation on few values takes as long as its launch. So factors such as the number of values enter as `value`.
    of_group = x.unflatten(1, (groups, -1))
    weight, bias = (each.view(groups, -1, 1, 1) for each in (weight, bias))
    values, dims = of_group[0, 0].numel(), (2, 3, 4)
    mean = of_group.mean(dims, keepdim=True, dtype=torch.float32)
    length = torch.linalg.vector_norm(of_group, dim=dims, keepdim=True, dtype=torch.float32)
    deviation = torch.addcmul(length.square(), mean, mean, value=-values).clamp_(min=0)  # squared; it rounds below 0
    root = math.sqrt(values)
    scale = deviation.add_(values * eps).rsqrt_() * weight  # 1 / root of the scale
    shift = torch.addcmul(bias, mean, scale, value=-root)
    scale, shift = (each.to(x.dtype).flatten(1, 2) for each in (scale, shift))
    return torch.addcmul(shift, x, scale, value=root)
