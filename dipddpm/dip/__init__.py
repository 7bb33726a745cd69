"""The Deep Image Prior: networks, the LightningModule, curves, stopping rules, and the engine that runs a fit.

`fitting.run` runs a fit of `module.DeepImagePrior` and hands its epochs to a keeper (`keeping`). It knows no files:
`dipddpm.fits` keeps fits on disk.
"""
