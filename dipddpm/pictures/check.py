"""Refuse values that are no pictures. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dipddpm.names import LARGEST

if TYPE_CHECKING:
    import torch

WANTED = "give floating-point values in [0, 1]"


def check_floating(name: str, x: Any) -> None:
    """Refuse an array or a tensor of integers: 0 to 255 would be taken for 0 to 1.

    Raises:
        ValueError: For another type of values; the line begins with ``name``.
    """
    if "float" not in str(x.dtype):
        raise ValueError(f"{name} is {str(x.dtype).removeprefix('torch.')}: {WANTED}")


def check_tensor(name: str, x: object) -> None:
    """Refuse an array, a path or any other value that is no tensor.

    Raises:
        TypeError: The line begins with ``name``.
    """
    if not hasattr(x, "is_floating_point"):
        wanted = "its .picture" if hasattr(x, "picture") else "a torch.Tensor"
        raise TypeError(f"{name} is of type {type(x).__name__}: give {wanted}")


def check_kind(name: str, given: object, kind: type, example: str) -> None:
    """Refuse a value of another kind, such as the number 25 for a noise, or a class for one of its objects.

    Raises:
        TypeError: The line begins with ``name`` and ends with the example.
    """
    if not isinstance(given, kind):
        what = f"the class {given.__name__}" if isinstance(given, type) else f"of type {type(given).__name__}"
        raise TypeError(f"{name} is {what}: give {example}")


def check_picture(name: str, x: torch.Tensor) -> None:
    """Refuse a value that is no tensor of pictures.

    Raises:
        TypeError: For another type than a tensor; the line begins with ``name``.
        ValueError: For another type of values or another shape, no pictures, or too many pixels.
    """
    check_tensor(name, x)
    check_floating(name, x)
    if x.ndim != 4 or x.shape[1] != 3 or not x.numel():
        raise ValueError(f"{name} has the shape {tuple(x.shape)}: must be (N, 3, H, W), and not empty")
    check_area(name, *x.shape[-2:])


def check_area(name: str, height: int, width: int) -> None:
    """Refuse more pixels than a picture of the largest size has.

    Raises:
        ValueError: The line begins with ``name``.
    """
    if height * width > LARGEST**2:
        raise ValueError(f"{name} has {height}x{width} pixels: must be at most {LARGEST}x{LARGEST}")


def check_finite(name: str, x: torch.Tensor) -> None:
    """Refuse NaN and infinity.

    Raises:
        ValueError: The line begins with ``name``.
    """
    if not x.isfinite().all():
        raise ValueError(f"{name} has values that are not finite (NaN or infinity)")


def check_alike(output: torch.Tensor, reference: torch.Tensor) -> None:
    """Refuse pictures of two shapes: torch would repeat pictures or pixels to take their difference.

    Raises:
        TypeError, ValueError: As `check_picture`, and for two shapes.
    """
    check_picture("output", output)
    check_picture("reference", reference)
    if output.shape != reference.shape:
        raise ValueError(f"output has the shape {tuple(output.shape)}, and reference {tuple(reference.shape)}")
