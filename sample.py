"""Restore a picture: fit a Deep Image Prior, or find a stored fit, then start the DDPM from it.

python sample.py dip.layers=6 ddpm.start_t=50
"""

from dipddpm.cli.sample import main

if __name__ == "__main__":
    main()
