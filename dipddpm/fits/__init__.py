"""DIP fits: made from Python, kept in a store, loaded again. A fit is a trajectory of kept epochs with its curves.

`fit.fit_dip` fits pictures in memory or into a store, and `load.load_fit` loads a kept epoch. `manifest` says what a
stored fit consists of; `store` finds, locks, writes and verifies fits; `choice` says which epoch ``checkpoint`` means.
``python -m dipddpm.fits list|show|rm|gc`` manages a store.
"""

from dipddpm.fits.manifest import Damaged, Fit
from dipddpm.fits.store import FitStore, fit_key

__all__ = ["Damaged", "Fit", "FitStore", "fit_key"]
