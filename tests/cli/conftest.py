"""Fixtures shared by the tests of the command line."""

import pytest

from dipddpm.cli import check as cli


@pytest.fixture
def refuse(tmp_path, monkeypatch, capsys):
    """The lines that refuse what is typed in an empty folder, from which nothing is left there."""

    def refuse(name, *arguments):
        with pytest.raises(SystemExit) as left:
            cli.check_arguments(name, list(arguments))
        told = capsys.readouterr()
        assert left.value.code == 2
        assert not told.out
        assert not (tmp_path / "outputs").exists() and not (tmp_path / "multirun").exists()
        return told.err.strip().splitlines()

    monkeypatch.chdir(tmp_path)
    return refuse
