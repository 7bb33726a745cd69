"""Fixtures shared by the tests of the study."""

import pytest
from support.study_jobs import mixed_sweep


@pytest.fixture
def mixed(tmp_path):
    """A sweep with a job of every kind."""
    return mixed_sweep(tmp_path / "sweep")
