"""A fit is one independent job, whatever a launcher left in the environment."""

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dipddpm.dip.alone import ranked
from dipddpm.runs import commands
from dipddpm.runs.job import Job

LEFT = {
    "torchrun": {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "NODE_RANK": "1", "MASTER_PORT": "1"},
    "srun": {"SLURM_NTASKS": "4", "SLURM_PROCID": "2", "SLURM_LOCALID": "2", "SLURM_NODEID": "1", "SLURM_JOB_ID": "3",
             "SLURM_JOB_NAME": "fits", "SLURM_NTASKS_PER_NODE": "4"},
    "jsrun": {"JSM_NAMESPACE_RANK": "3", "JSM_NAMESPACE_SIZE": "4", "LSB_JOBID": "1"},
    "defaults of a Trainer": {"PL_TRAINER_MAX_STEPS": "3", "PL_TRAINER_LIMIT_TRAIN_BATCHES": "0"},
}  # fmt: skip


def test_ranks_of_a_launcher_neither_stop_a_fit_nor_hide_its_curves(configure, tmp_path, monkeypatch):
    for variables in LEFT.values():
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(ranked, "rank", 1)  # Lightning reads the variables when it is imported
    commands.fit(configure("dip.max_epochs=10"), Job(tmp_path / "run"))
    (events,) = tmp_path.glob("fits/*/**/events.out.tfevents.*")
    shown = EventAccumulator(str(events)).Reload()
    assert any(len(shown.Scalars(tag)) == 10 for tag in shown.Tags()["scalars"]), shown.Tags()
    assert ranked.rank == 1, "the rank of the caller is the caller's"
