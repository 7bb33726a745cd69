"""What a result depends on beside its configuration."""

import json
import subprocess
from types import SimpleNamespace

from dipddpm import environment


def test_the_commit_of_the_code_is_that_of_the_clone_or_of_the_installation(tmp_path, monkeypatch):
    def git(*arguments):
        own = ["git", "-C", str(tmp_path), "-c", "user.name=me", "-c", "user.email=me@here"]
        return subprocess.run([*own, *arguments], capture_output=True, text=True, check=True).stdout.strip()

    monkeypatch.setattr(environment, "CLONE", tmp_path)
    found: list[str | None] = [json.dumps({"vcs_info": {"commit_id": "abc"}}), "{}", None]
    monkeypatch.setattr(environment, "distribution", lambda _: SimpleNamespace(read_text=lambda _: found.pop(0)))
    assert [environment.commit() for _ in range(3)] == ["abc", None, None]
    git("init", "-q")
    (tmp_path / "code.py").write_text("1\n")
    git("add", "-A")
    git("commit", "-qm", "First")
    assert environment.commit() == git("rev-parse", "HEAD")
    (tmp_path / "code.py").write_text("2\n")
    assert environment.commit() == git("rev-parse", "HEAD") + "-dirty"
