"""Runs within the test's own process, and what they leave."""

import json

import numpy as np
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dipddpm.runs import commands
from dipddpm.runs.job import Job


def read(path):
    with Image.open(path) as image:
        return np.asarray(image)


def run(config, folder, job=commands.sample):
    value = job(config, Job(folder))
    return value, json.loads((folder / "metrics.json").read_text())


def events(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0, "tensors": 0})
    accumulator.Reload()
    return accumulator
