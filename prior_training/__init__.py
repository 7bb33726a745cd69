"""Train a small DDPM on any pictures, and judge a prior: the package behind ``train_prior.py`` and ``scripts/``.

A prior is a pretrained DDPM that ``dipddpm`` samples from. This package imports ``dipddpm``, never the reverse.

    settings.py cli.py                    the keys of conf/train_prior.yaml, checked before any work
    pictures.py                           pictures of a folder or a tar, all of one size; some are held out
    training.py levels.py optimizer.py    the network, its steps, its checkpoint
    run.py report.py card.py              the loop; TensorBoard and the diffusers folder; the model card
    evaluation.py judge.py denoisers.py   PSNR of one evaluation by noise level, compared with classical denoisers
    samples.py compare.py paired.py       samples from noise; two priors on the same DIP fits
"""
