"""DIP fits: make them from Python, keep them in a store, load them again. A fit has kept epochs and curves.

`fit.fit_dip` fits pictures in memory or into a store, and `load.load_fit` loads a kept epoch. `many` makes the fits of
many pictures at once, on a GPU by `stacks`. `manifest` has the files of a stored fit. `store` finds, locks, writes and
verifies fits. `choice` finds the epoch that ``checkpoint`` names.
``python -m dipddpm.fits list|show|rm|gc`` manages a store.
"""

from dipddpm.fits.manifest import Damaged, Fit
from dipddpm.fits.store import FitStore, fit_key

__all__ = ["Damaged", "Fit", "FitStore", "fit_key"]
