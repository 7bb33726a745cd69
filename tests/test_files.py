"""Atomic writes: the old file or the new one, never a part."""

import errno
import json
import os

import pytest
import torch
from safetensors.torch import save_file

from dipddpm import files


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "deep" / "a.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(ZeroDivisionError), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(path.parent.iterdir()) == [path]


def test_what_the_disk_refuses_late_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})

    def full(descriptor: int) -> None:
        assert os.fstat(descriptor).st_size > 0, "asked after everything was written"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_whoever_may_read_new_files_may_read_tensors_too(tmp_path):
    plain, tensors = tmp_path / "plain", tmp_path / "tensors"
    plain.touch()
    with files.replacing(tensors) as temporary:
        save_file({"a": torch.zeros(1)}, temporary)
    assert tensors.stat().st_mode == plain.stat().st_mode


def test_numbers_that_json_does_not_have_are_refused(tmp_path):
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "a.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_canonical_text_does_not_depend_on_order():
    assert files.canonical({"b": 1, "a": [1.5, None]}) == '{"a":[1.5,null],"b":1}'
