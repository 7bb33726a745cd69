"""Start the DDPM from a Deep Image Prior: find the fit (or make it), then run the window.

python sample.py dip.layers=6 ddpm.start_t=50
"""

from dipddpm.cli.sample import main

if __name__ == "__main__":
    main()
