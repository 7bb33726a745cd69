"""A campaign: kills, damage, bad input, concurrency, full disks and hostile files, drawn at random from a seed.

    make campaign                                                  # all kinds, a few minutes
    PYTHONPATH=tests:. python -m campaign kills damage --seed 2    # two kinds, other draws
    PYTHONPATH=tests:. python -m campaign kills --times 10         # ten times as many trials

docs/reliability.md states what each kind tests. Each kind is a module with a function `run`. pytest collects none of
them: a campaign takes minutes and draws new cases for each seed.
"""

import os

# Before torch is imported. A child is a fork of this process, and a fork must have no threads.
os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
