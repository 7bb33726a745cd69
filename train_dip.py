"""Fit a Deep Image Prior to one noisy picture, and store the fit.

python train_dip.py image.path=me.png dip.layers=6
"""

from dipddpm.cli.train_dip import main

if __name__ == "__main__":
    main()
