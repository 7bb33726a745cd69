"""Refuse the old group ``degrade``, and give its new spelling by ``noise``, ``operator`` and ``image=noisy``.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence

from dipddpm.errors import UserError

OLD = "degrade"
CHOICES = {"none": "image=noisy", "mask": "operator=mask noise=none", "downscale": "operator=downscale noise=none"}
OPERATORS = {  # by the old key
    "missing": "operator=mask operator.missing",
    "mask": "operator=mask operator.file",
    "downscale": "operator=downscale operator.factor",
}
WITHOUT_NOISE = ("experiment=inpaint", "experiment=superres")  # these choose noise=none


def refuse_old(overrides: Sequence[str]) -> None:
    """Refuse overrides of the group ``degrade``, and name the overrides that replace them.

    Args:
        overrides: All overrides as typed. A key may have ``+``, ``++`` or ``~`` before it, and several values after it.

    Raises:
        UserError: One line with all old overrides and their new spelling.
    """
    typed = [o.lstrip("+~") for o in overrides]
    old = [o for o in typed if _key(o).partition(".")[0] == OLD]
    if old:
        raise UserError(f"{' '.join(old)} has a new name: type {' '.join(_renamed(old, typed))}")


def _key(override: str) -> str:
    return override.partition("=")[0].partition("@")[0]


def _listed(value: str) -> list[str]:
    """Return the values of a sweep's list, or the one value."""
    return [one.strip() for one in value.removeprefix("choice(").removesuffix(")").split(",") if one]


def _renamed(old: Sequence[str], typed: Sequence[str]) -> list[str]:
    """Return the new spelling of the old overrides; ``typed`` holds all overrides, old and new."""
    values = {_key(o).partition(".")[2]: o.partition("=")[2] for o in old}  # the key "" stands for the group
    kinds = [kind for name in ("", "kind") for kind in _listed(values.get(name, ""))]
    own = "none" in kinds or "image=noisy" in typed
    experiment = any(e in typed for e in WITHOUT_NOISE)
    added = any(kind not in CHOICES for kind in kinds)
    new: list[str] = []
    for name, value in values.items():
        if name in ("", "kind"):
            text = _choice(_listed(value))
        elif name == "sigma":
            text = "noise=none" if value in ("0", "0.0") else f"noise.sigma={value}"
            if own and experiment:
                text = text.replace("noise.sigma", "noise=own noise.sigma")
            elif not own and not added and (experiment or {"mask", "downscale"} & set(kinds)):
                text = text.replace("noise.sigma", "noise=gaussian noise.sigma")
        elif name == "correlation":
            text = "noise=gaussian" if value == "null" else f"noise=correlated noise.correlation={value}"
        elif name in OPERATORS:
            text = "operator=identity" if value == "null" else f"{OPERATORS[name]}={value}"
        else:
            text = "a key of noise or operator"
        new += [one for one in text.split(" ") if one == "or" or one not in new]
    if any(one.startswith("noise=") and one != "noise=none" for one in new):
        new = [one for one in new if one != "noise=none"]  # mask and downscale bring noise=none; another noise wins
    return new


def _choice(kinds: Sequence[str]) -> str:
    """Return the new spelling of a choice of the group, or of a sweep's several choices."""
    if len(kinds) > 1 and not set(kinds) & set(CHOICES):
        return f"noise={','.join(kinds)}"
    return " or ".join(CHOICES.get(kind, f"noise={kind}") for kind in kinds) or "noise=gaussian"
