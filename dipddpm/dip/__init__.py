"""The Deep Image Prior (DIP): networks, the LightningModule, curves, stopping rules, and the loop of a fit.

A fit trains a `module.DeepImagePrior` on one picture. `fitting.run` runs a fit, and passes its epochs to a keeper
(`keeping`). `dipddpm.fits` keeps fits on disk.
"""
