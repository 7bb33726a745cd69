"""Keys that had another name: ``degrade`` became ``noise``, ``operator`` and ``image=noisy``. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from dipddpm.errors import UserError

OLD = "degrade"
KINDS = {"none": "image=noisy", "mask": "operator=mask noise=none", "downscale": "operator=downscale noise=none"}
WITHOUT_NOISE = ("experiment=inpaint", "experiment=superres", "degrade=mask", "degrade=downscale")


def refuse_old(overrides: Sequence[str]) -> None:
    """Refuse overrides of the group ``degrade``, and name the overrides that take their place.

    Args:
        overrides: All that was typed; with ``+``, ``++`` or ``~`` before the key, or a list of values after it, too.

    Raises:
        UserError: One line that names all of them and what to type instead.
    """
    typed = [o.lstrip("+~") for o in overrides]
    old = [o for o in typed if _key(o).split(".")[0] == OLD]
    if not old:
        return
    new: list[str] = []
    for override in old:
        new += [n for n in _renamed(override, typed).split() if n not in new]
    if any(n.startswith("noise=") and n != "noise=none" for n in new) and "noise=none" in new:
        new.remove("noise=none")  # of degrade=mask, with a noise beside it
    raise UserError(f"{' '.join(old)} has a new name: type {' '.join(new)}")


def _key(override: str) -> str:
    return override.partition("=")[0].partition("@")[0]


def _renamed(override: str, typed: Sequence[str]) -> str:
    """Return the new spelling of one old override, beside the others."""
    key, _, value = override.partition("=")
    name = _key(key).partition(".")[2]
    if name in ("", "kind"):
        choices = value.removeprefix("choice(").removesuffix(")").split(",") if value else ["gaussian"]
        renamed = [KINDS.get(choice.strip(), f"noise={choice.strip()}") for choice in choices]
        if len(renamed) > 1 and all(r.startswith("noise=") for r in renamed):
            return f"noise={','.join(r.removeprefix('noise=') for r in renamed)}"
        return " or ".join(renamed)
    if value == "null" and name != "sigma":
        return "noise=gaussian" if name == "correlation" else "operator=identity"
    if name == "sigma":
        own = any(o in typed for o in ("degrade=none", "degrade.kind=none", "image=noisy"))
        if value in ("0", "0.0"):
            return "noise=none"
        group = "noise=own " if own else "noise=gaussian "
        named = any(o.startswith(("degrade.kind=", "degrade=")) for o in typed if o not in WITHOUT_NOISE) and not own
        return f"{group * (not named and any(o in typed for o in WITHOUT_NOISE))}noise.sigma={value}"
    if name == "correlation":
        return f"noise=correlated noise.correlation={value}"
    if name in ("missing", "mask"):
        return f"operator=mask operator.{'file' if name == 'mask' else name}={value}"
    return f"operator=downscale operator.factor={value}" if name == "downscale" else "noise or operator"
