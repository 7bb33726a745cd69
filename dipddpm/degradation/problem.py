"""A problem: the picture y to restore, its noise, its operator, and the clean picture where there is one.

y = dd.read_picture("me.png", size=64)
problem = dd.Problem(y, sigma=25)                                     # y is a noisy picture
problem = dd.degrade(clean, noise=dd.Poisson(25), operator=dd.Mask(0.5), seed=0)     # y is made of a clean one
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch

from dipddpm import seeds
from dipddpm.degradation.noise import Correlated, Gaussian, Noise, check_sigma, estimate_sigma
from dipddpm.degradation.operators import Identity, Operator
from dipddpm.environment import outside_inference_mode
from dipddpm.pictures.check import check_finite, check_kind, check_picture

OPERATOR_WANTED = "an operator, such as dd.Mask(0.5), or dd.Callable(function)"
WHITE = Gaussian(25.0)  # the noise of the defaults


class Problem:
    """N damaged pictures of one size, y = A x + noise.

    Args:
        y: Shape (N, 3, h, w), in [0, 1] units; values may lie outside. Values at missing pixels are not read.
        sigma: rms of the noise of y on the 0-255 scale, 0 for no noise. None: it is estimated at its first use.
        clean: The clean picture x, shape (N, 3, H, W), in [0, 1], or None. Results are only measured against it.
        operator: A; None is `Identity`.
        contents: One content hash for each picture; all seeds derive from them. None: the hashes of y.
        notes: The changes to the picture in words, for people.
        added: The noise that `degrade` added to ``clean``, and its seed; None for any other y.
        completed: y as a picture of full size, where it is known already. None: the operator completes y.

    Attributes:
        y: The argument. Losses and data consistency take it.
        noisy: y as a picture of full size, shape (N, 3, H, W): y itself, or y completed by the operator. Windows and
            baselines without a DIP start from it.
        clean: The argument.
        operator: A.
        contents: One content hash for each picture.
        known_sigma: The argument ``sigma``.
        notes: The argument.
        added: The argument.

    Raises:
        TypeError: For a picture that is no tensor, or an operator that is none.
        ValueError: For shapes that do not match, values or a sigma that are not finite, a negative sigma, or no sigma
            with an operator that hides the noise of y.
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
        added: tuple[Noise, int] | None = None,
        completed: torch.Tensor | None = None,
    ):
        check_picture("y", y)
        self.operator = Identity() if operator is None else operator
        check_kind("operator", self.operator, Operator, OPERATOR_WANTED)
        if sigma is None and not self.operator.noise_shows:
            raise ValueError(f"sigma=None: must be given with an operator ({self.operator.words}); 0 for no noise")
        if sigma is not None:
            check_sigma(sigma)
        self.y, self.known_sigma, self.clean, self.notes = y, sigma, clean, tuple(notes)
        self.added = added
        self.noisy = self._completed() if completed is None else completed
        check_finite("y", self.noisy)
        if clean is not None:
            check_picture("clean", clean)
            check_finite("clean", clean)
            if clean.shape != self.noisy.shape:
                raise ValueError(f"clean has the shape {tuple(clean.shape)}: must be {tuple(self.noisy.shape)}")
        if self.operator.partial and (made := self.operator.measure(self.noisy).shape) != y.shape:
            raise ValueError(
                f"A of the completed picture has the shape {tuple(made)}, and y {tuple(y.shape)}: the operator "
                f"({self.operator.words}) must complete y to full size"
            )
        self.contents = content_hashes(y) if contents is None else tuple(contents)
        if len(self.contents) != len(y):
            raise ValueError(f"contents has {len(self.contents)} hashes: must be one for each of {len(y)} pictures")

    def _completed(self) -> torch.Tensor:
        """Return completed y. Where sigma is estimated, each picture has its own."""
        a = self.operator
        if self.known_sigma is not None or not a.partial:  # the identity needs no estimate
            return a.complete(self.y, self.known_sigma or 0.0)
        each = zip(self.y.split(1), self.sigmas, strict=True)
        return torch.cat([a.of(i).complete(y, sigma) for i, (y, sigma) in enumerate(each)])

    def __len__(self) -> int:
        """Return the number of pictures N."""
        return len(self.y)

    @property
    def content(self) -> str:
        """The content hash of the picture; for several pictures the hash of their hashes."""
        return self.contents[0] if len(self) == 1 else seeds.content_hash(list(self.contents))

    @cached_property
    def sigma(self) -> float:
        """rms of the noise of y on the 0-255 scale: the given one, or the mean of the pictures' estimates.

        Raises:
            ValueError: When the estimate fails (`dipddpm.degradation.noise.estimate_sigma`).
        """
        return sum(self.sigmas) / len(self) if self.known_sigma is None else self.known_sigma

    @cached_property
    def sigmas(self) -> tuple[float, ...]:
        """rms of the noise of each picture on the 0-255 scale; errors are those of `sigma`."""
        if self.known_sigma is not None:
            return (self.known_sigma,) * len(self)
        return tuple(estimate_sigma(one) for one in self.y.split(1))

    @property
    def sigma_source(self) -> str:
        """``given`` or ``estimated``."""
        return "given" if self.known_sigma is not None else "estimated"

    @property
    def correlated(self) -> bool:
        """Whether `degrade` added noise whose neighbouring values are correlated. Of any other y nothing is known."""
        return self.added is not None and isinstance(self.added[0], Correlated)

    @property
    def shown(self) -> torch.Tensor:
        """y for people, shape (N, 3, H, W): black where pixels are missing, squares where y is smaller."""
        return self.operator.show(self.y, self.noisy)

    @property
    def words(self) -> str:
        """The name of ``noisy`` in tables, such as ``50% missing, filled``."""
        return f"{self.operator.words}, {self.operator.completion}" if self.operator.partial else "noisy picture"

    @property
    def has_crossing(self) -> bool:
        """Whether the crossing of the losses to y and to x marks half-learnt noise.

        That needs noise, and a y that holds the whole picture.
        """
        return not self.operator.partial and self.sigma > 0

    def put_back(self, picture: torch.Tensor) -> torch.Tensor:
        """Return the picture with the measured part of y put in, where y is partial and has no noise.

        Where y has noise or holds the whole picture, the picture is returned unchanged: it may be nearer to x than y.
        The same holds where y has no stable inverse.

        Args:
            picture: Shape (N, 3, H, W), the shape of ``noisy``.
        """
        if not self.operator.partial or self.sigma > 0:
            return picture
        return self.operator.put_back(picture, self.y)


@outside_inference_mode
def degrade(
    clean: torch.Tensor,
    noise: Noise = WHITE,
    operator: Operator | None = None,
    seed: int = 0,
    notes: Sequence[str] = (),
) -> Problem:
    """Damage clean pictures: y = A x + noise.

    Every draw derives from the seed and the content of the picture. A picture gets the same noise in any batch, on any
    device, and in a run of the command line with the same pixels and seed.

    Args:
        clean: x, shape (N, 3, H, W), in [0, 1].
        noise: The noise to add.
        operator: A; None is `Identity`.
        seed: Seed of the noise and of a random mask.
        notes: The earlier changes to the pictures in words, for people.

    Raises:
        TypeError: For a picture that is no tensor, a noise that is none, or an operator that is none.
        ValueError: For a wrong shape, a seed that is no whole number, a size that the operator cannot have, or noise
            that the picture cannot have.
    """
    check_picture("clean", clean)
    check_finite("clean", clean)
    check_kind("noise", noise, Noise, "a noise, such as dd.Gaussian(25)")
    noise.check(clean)
    seed, contents = seeds.whole(seed), content_hashes(clean)
    height, width = clean.shape[-2:]
    operator = Identity() if operator is None else operator
    check_kind("operator", operator, Operator, OPERATOR_WANTED)
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
        notes=(*notes, *(text for text in dict.fromkeys(said) if text)), added=(noise, seed),
    )  # fmt: skip


def joined(problems: Sequence[Problem]) -> Problem:
    """Return one problem of the pictures of several, which have one size, kind of operator and known sigma."""
    first = problems[0]
    if len(problems) == 1:
        return first
    cleans = [p.clean for p in problems if p.clean is not None]
    return Problem(
        torch.cat([p.y for p in problems]), first.known_sigma, torch.cat(cleans) if cleans else None,
        type(first.operator).joined([p.operator for p in problems]),
        contents=[content for p in problems for content in p.contents], added=first.added,
        completed=torch.cat([p.noisy for p in problems]),
    )  # fmt: skip


def content_hashes(pictures: torch.Tensor) -> tuple[str, ...]:
    """Return the content hash of each of N pictures, shape (N, 3, H, W): the hash of a float32 array (H, W, 3)."""
    arrays = (one.permute(1, 2, 0).contiguous().numpy() for one in pictures.detach().cpu().float())
    return tuple(seeds.content_hash(array) for array in arrays)
