"""A file appears whole or not at all, as readable as any other file of the user."""

import os

import pytest

from deepvis_caffe.files import whole_file


def test_an_error_in_the_middle_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")

    def interrupted() -> None:
        with whole_file(path) as part:
            part.write_text("ha")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_name_is_taken_only_at_the_end(tmp_path):
    path = tmp_path / "result.json"
    with whole_file(path) as part:
        part.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_the_mode_is_that_of_a_file_that_was_simply_opened(tmp_path):
    simply, path = tmp_path / "simply", tmp_path / "result.json"
    before = os.umask(0o027)
    try:
        simply.write_text("")
        with whole_file(path):
            pass
    finally:
        os.umask(before)
    assert path.stat().st_mode == simply.stat().st_mode


def test_the_umask_of_the_process_is_not_touched(tmp_path, monkeypatch):
    """Not even for a moment: another thread might make a file meanwhile, which all could write."""
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the umask was set"))
    with whole_file(tmp_path / "result.json"):
        pass


def test_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "result.json"
    with whole_file(path) as one, whole_file(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"  # the last to end
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "no" / "result.json"):
        pass
