"""The damage to a picture: y = A x + noise.

`dipddpm.degradation.noise` has the kinds of noise, and `dipddpm.degradation.operators` the base class of the operators
A. A `Problem` of `dipddpm.degradation.problem` is a picture to restore; `degrade` makes a problem of a clean picture.

All operators are imported here: each registers its name.
"""

from dipddpm.degradation import blur, chain, clip, jpeg, masks, scaling, sensing

__all__ = ["blur", "chain", "clip", "jpeg", "masks", "scaling", "sensing"]
