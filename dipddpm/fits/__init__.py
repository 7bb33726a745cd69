"""The store of DIP fits. A fit is a trajectory: every kept epoch, the curves, and the newest state.

`manifest` says what a stored fit consists of, `store` finds, locks, writes and verifies fits, and
``python -m dipddpm.fits list|show|rm|gc`` manages them.
"""

from dipddpm.fits.manifest import Damaged, Fit
from dipddpm.fits.store import FitStore, fit_key

__all__ = ["Damaged", "Fit", "FitStore", "fit_key"]
