"""Train a small DDPM on any pictures, and judge a prior: the package behind ``train_prior.py`` and ``scripts/``.

It stands beside ``dipddpm`` and imports it; ``dipddpm`` never imports this package.

    settings.py cli.py                    what conf/train_prior.yaml may say; checked before any work
    pictures.py                           pictures of a folder or a tar, all of one size; some are held out
    training.py levels.py optimizer.py    the network, its steps, its checkpoint
    run.py report.py card.py              the loop; TensorBoard and the diffusers folder; the model card
    evaluation.py judge.py denoisers.py   PSNR of one evaluation by noise level, beside denoisers that do not learn
    samples.py compare.py paired.py      samples from noise; two priors on the same DIP fits
"""
