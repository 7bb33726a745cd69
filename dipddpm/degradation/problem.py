"""The picture that is to be restored: y, and what is known about it.

y = dd.read_picture("me.png", size=64)
problem = dd.Problem(y, sigma=25)                                     # y is a noisy picture
problem = dd.degrade(clean, noise=dd.Poisson(25), operator=dd.Mask(0.5), seed=0)     # y is made of a clean one
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch

from dipddpm import seeds
from dipddpm.degradation.noise import Gaussian, Noise, estimate_sigma
from dipddpm.degradation.operators import Identity, Operator

WHITE = Gaussian(25.0)  # the noise of the defaults


class Problem:
    """A damaged picture y = A x + noise and what is known about it; N pictures of one size are one problem, too.

    Args:
        y: Shape (N, 3, h, w), in [0, 1] units; may leave [0, 1]. Its values at missing pixels are not read.
        sigma: rms of the noise of y on the 0-255 scale, 0 for none; None estimates it when it is first asked for.
        clean: The picture x, shape (N, 3, H, W), or None. It is only measured against.
        operator: A; None is `Identity`.
        contents: One content hash a picture, from which all seeds are derived; None takes those of y.
        notes: What was done to the picture, for people.

    Attributes:
        y: As given.
        noisy: y as a picture of full size, shape (N, 3, H, W): y itself, or completed by the operator.
        clean: As given.
        operator: Never None.
        contents: One content hash a picture.
        known_sigma: ``sigma`` as given.
        notes: As given.

    Raises:
        ValueError: For shapes that do not go together, a negative sigma, or an operator whose noise has to be given.
    """

    def __init__(
        self,
        y: torch.Tensor,
        sigma: float | None = None,
        clean: torch.Tensor | None = None,
        operator: Operator | None = None,
        *,
        contents: Sequence[str] | None = None,
        notes: Sequence[str] = (),
    ):
        _check_picture("y", y)
        self.operator = Identity() if operator is None else operator
        if sigma is None and self.operator.partial:
            raise ValueError(f"sigma is needed: noise is not estimated from a picture with {self.operator.words}")
        if sigma is not None and not sigma >= 0:
            raise ValueError(f"sigma={sigma:g}: 0 or more, on the 0-255 scale")
        self.y, self.known_sigma, self.clean, self.notes = y, sigma, clean, tuple(notes)
        self.noisy = self.operator.complete(y)
        if clean is not None and clean.shape != self.noisy.shape:
            raise ValueError(f"clean has the shape {tuple(clean.shape)}, and y is of {tuple(self.noisy.shape)}")
        self.contents = content_hashes(y) if contents is None else tuple(contents)
        if len(self.contents) != len(y):
            raise ValueError(f"there are {len(self.contents)} contents for {len(y)} pictures")

    def __len__(self) -> int:
        """Return the number of pictures N."""
        return len(self.y)

    @property
    def content(self) -> str:
        """The content hash of the picture; of several pictures a hash of all of theirs."""
        return self.contents[0] if len(self) == 1 else seeds.content_hash(list(self.contents))

    @cached_property
    def sigma(self) -> float:
        """rms of the noise of y on the 0-255 scale: given, else estimated (the mean over the pictures).

        Raises:
            ValueError: Where it is to be estimated and cannot (`dipddpm.degradation.noise.estimate_sigma`).
        """
        if self.known_sigma is not None:
            return self.known_sigma
        return sum(estimate_sigma(one) for one in self.noisy.split(1)) / len(self)

    @property
    def sigma_source(self) -> str:
        """``given`` or ``estimated``."""
        return "given" if self.known_sigma is not None else "estimated"

    @property
    def shown(self) -> torch.Tensor:
        """y for people, shape (N, 3, H, W): black where pixels are missing, in squares where it is smaller."""
        return self.operator.project(self.noisy)

    @property
    def words(self) -> str:
        """What ``noisy`` is called, such as ``50% missing, filled``."""
        return f"{self.operator.words}, {self.operator.completion}" if self.operator.partial else "noisy picture"

    @property
    def has_crossing(self) -> bool:
        """Whether the losses to y and to x cross where half the noise is learnt: there is noise, and y tells of all."""
        return not self.operator.partial and self.sigma > 0

    def put_back(self, picture: torch.Tensor) -> torch.Tensor:
        """Return a picture of the shape of ``noisy`` with the part that y tells put in, where y has no noise.

        Where y has noise, or tells of the whole picture, the picture is returned as it is: which of the two is better
        is not known.
        """
        if not self.operator.partial or self.sigma > 0:
            return picture
        return self.operator.replace(picture, self.noisy)


def degrade(
    clean: torch.Tensor,
    noise: Noise = WHITE,
    operator: Operator | None = None,
    seed: int = 0,
    notes: Sequence[str] = (),
) -> Problem:
    """Damage clean pictures: y = A x + noise.

    Every draw is derived from the seed and the content of the picture: a picture gets the same noise in any batch, on
    any device, and in a run of the command line with the same pixels and seed.

    Args:
        clean: x, shape (N, 3, H, W), in [0, 1].
        noise: Its kind and strength.
        operator: A; None is `Identity`.
        seed: Of the noise and of a mask that is drawn.
        notes: What was done to the pictures before, for people.

    Raises:
        ValueError: For a shape or noise that cannot be.
    """
    _check_picture("clean", clean)
    contents = content_hashes(clean)
    height, width = clean.shape[-2:]
    operator = Identity() if operator is None else operator
    bound, rows, said = [], [], []
    for one, content in zip(clean.split(1), contents, strict=True):
        a = operator.bind((height, width), seed, content)
        before = one if a.noise_first else a.measure(one)
        y = noise.add(before, seeds.generator(seed, "noise", content))
        bound.append(a)
        rows.append(a.measure(y) if a.noise_first else y)
        said.append(noise.words(before) if noise.sigma else "")
    return Problem(
        torch.cat(rows), noise.sigma, clean, type(operator).joined(bound), contents=contents,
        notes=(*notes, *(text for text in dict.fromkeys(said) if text)),
    )  # fmt: skip


def content_hashes(pictures: torch.Tensor) -> tuple[str, ...]:
    """Return the content hash of each picture of shape (N, 3, H, W), as of its pixels in a float32 array (H, W, 3)."""
    arrays = (one.permute(1, 2, 0).contiguous().numpy() for one in pictures.detach().cpu().float())
    return tuple(seeds.content_hash(array) for array in arrays)


def _check_picture(name: str, x: torch.Tensor) -> None:
    if x.ndim != 4 or x.shape[1] != 3 or not x.is_floating_point():
        raise ValueError(
            f"{name} is {x.dtype} of shape {tuple(x.shape)}: floating-point of shape (N, 3, H, W), in [0, 1]"
        )
