"""The Deep Image Prior: networks, the LightningModule, curves, stopping rules, the fit."""
