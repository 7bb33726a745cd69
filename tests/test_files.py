"""Atomic writes: the old file or the new one, never a part."""

import errno
import fcntl
import json
import os
import stat

import pytest
import torch
from safetensors.torch import save_file

from dipddpm import files
from dipddpm.errors import UserError

BYTES = os.fsdecode(b"caf\xe9")  # a name in Latin-1


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


def in_place_of(path, how):
    """Put something else in place of a file."""
    path.unlink(missing_ok=True)
    if how == "folder":
        path.mkdir()
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "loop":
        path.symlink_to(path)
    else:
        path.write_bytes({"deep": b"[" * 100_000, "bytes": b"\xff", "list": b"[]", "half": b'{"a'}[how])


@pytest.mark.parametrize("how", ["folder", "pipe", "loop", "deep", "bytes", "list", "half"])
def test_whatever_stands_in_place_of_json_is_one_kind_of_error(tmp_path, how):
    in_place_of(tmp_path / "a.json", how)
    with pytest.raises(ValueError):
        files.read_json(tmp_path / "a.json")
    if how in ("folder", "pipe", "loop"):
        for reader in (files.read_yaml, files.sha256):
            with pytest.raises(ValueError, match="is no file"):
                reader(tmp_path / "a.json")


def test_json_is_read_with_a_byte_order_mark_and_a_missing_file_is_told_from_a_broken_one(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1}', encoding="utf-8-sig")
    assert files.read_json(tmp_path / "a.json") == {"a": 1}
    with pytest.raises(FileNotFoundError):
        files.read_json(tmp_path / "b.json")


def test_a_text_may_name_any_file(tmp_path):
    files.write_text(tmp_path / BYTES, f"about {BYTES}")
    assert files.read_text(tmp_path / BYTES) == "about caf\\udce9"
    with files.utf8_path(tmp_path / BYTES) as path, open(path.encode()) as file:
        assert file.read() == "about caf\\udce9"


def test_only_ones_own_half_written_files_are_found(tmp_path):
    for name in (".a.json.1-0123abcd.tmp", ".b.json.1-0123abcd.tmp", ".a.json.tmp", "a.json.1-0123abcd.tmp"):
        (tmp_path / name).touch()
    assert [p.name for p in files.half_written(tmp_path, ["a.*"])] == [".a.json.1-0123abcd.tmp"]
    assert files.half_written(tmp_path / "none", ["*"]) == []


def test_a_link_is_removed_alone(tmp_path):
    (tmp_path / "mine/deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("mine")
    for name in ("link", "none"):
        files.remove(tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"] and (tmp_path / "mine/deep").is_dir()
    files.remove(tmp_path / "mine")
    assert not list(tmp_path.iterdir())


def test_a_link_replaces_a_link_and_no_folder(tmp_path):
    for name in ("one", "two", "copy"):
        (tmp_path / name).mkdir()
    for target in ("one", "two"):
        files.link(tmp_path / "fit", tmp_path / target)
        files.link(tmp_path / "copy", tmp_path / target)
        assert (tmp_path / "fit").resolve() == tmp_path / target and not (tmp_path / "copy").is_symlink()


def test_a_lock_is_shared_by_a_group_and_follows_no_link(tmp_path):
    before = os.umask(0o002)
    try:
        with files.locked(tmp_path / ".lock", "store"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / ".lock").stat().st_mode) == 0o664
    (tmp_path / "precious").write_text("precious")
    (tmp_path / ".link").symlink_to("precious")
    with pytest.raises(UserError, match=r"store=.* holds a link in place of .link .*: type store=<folder>"):
        with files.locked(tmp_path / ".link", "store"):
            pass
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_file_system_without_locks_is_one_line(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(UserError, match="store=.* is on a file system without locks.*: type store=<folder>"):
        with files.locked(tmp_path / ".lock", "store"):
            pass


def test_yaml_that_could_multiply_itself_is_refused(tmp_path):
    path = tmp_path / "overrides.yaml"
    for text in ("a: &a [1]\nb: *a\n", "a: &a {x: 1}\nb: {<<: [*a, *a]}\n"):
        path.write_text(text)
        with pytest.raises(ValueError, match="YAML with aliases"):
            files.read_yaml(path)
    path.write_text('- image.path="*.png"\n')
    assert files.read_yaml(path) == ['image.path="*.png"']
