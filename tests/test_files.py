"""Atomic writes: a file appears complete or not at all, with the user's usual permissions."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deepvis_caffe.errors import ResultsError
from deepvis_caffe.files import (
    decode_names,
    decode_text,
    exists,
    is_text,
    lock,
    new_text,
    read_file,
    read_head,
    read_json,
    remove_abandoned,
    whole_file,
)


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


def test_what_is_named_is_on_the_disk_before(tmp_path, monkeypatch):
    """Or a power cut could leave an empty file under the name."""
    happened = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(descriptor):
        happened.append(("sync", os.fstat(descriptor).st_size))
        real_sync(descriptor)

    def replace(self, target):
        happened.append(("replace", target.name))
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    with whole_file(tmp_path / "result.json") as part:
        part.write_text("whole")
    assert happened == [("sync", 5), ("replace", "result.json")]


def test_only_what_was_abandoned_is_removed(tmp_path):
    """A part that is being written, and files that only look like parts, are left alone."""
    with whole_file(tmp_path / "one.png") as part:
        left = part.with_name(part.name.replace("one", "killed"))
    left.write_bytes(b"half")
    names = ("one.png", ".notes.part", "x.0123abcd.part", ".new.0123abcd.part")
    kept = [tmp_path / name for name in names]
    for path in kept:
        path.write_text("")
    for path in (left, *kept[1:3]):
        os.utime(path, (0, 0))
    assert remove_abandoned(tmp_path) == 1
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    assert remove_abandoned(tmp_path / "nowhere") == 0


def test_who_writes_into_a_folder_first_removes_what_was_abandoned_there(tmp_path):
    left, being_written = tmp_path / ".one.png.0123abcd.part", tmp_path / ".two.png.0123abcd.part"
    for path in (left, being_written):
        path.write_text("half")
    os.utime(left, (0, 0))
    with whole_file(tmp_path / "three.png"):
        assert not left.exists()
    assert being_written.exists()


@pytest.mark.process
def test_a_lock_says_who_holds_it_and_ends_with_its_process(tmp_path):
    path = tmp_path / "scan.lock"
    program = (
        "import sys\nfrom pathlib import Path\nfrom deepvis_caffe.files import lock\n"
        "with lock(Path(sys.argv[1]), 'the scan'):\n print('held', flush=True)\n input()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", program, str(path)], **pipes) as child:
        assert child.stdout.readline() == "held\n"
        expected = rf"working on the scan: process {child.pid} on .*, since 20\d\d-"
        with pytest.raises(ResultsError, match=expected), lock(path, "the scan"):
            pass
        child.kill()
        child.wait()
    with lock(path, "the scan"):
        pass


@pytest.mark.parametrize("links", [True, False])
def test_of_two_who_write_a_new_file_at_once_one_succeeds(tmp_path, monkeypatch, links):
    """The second comes when the first is about to give the file its name."""
    path, ended = tmp_path / "recipe.json", {}
    real_link, real_replace = os.link, Path.replace

    def write(who):
        try:
            ended[who] = new_text(path, who)
        except FileExistsError:
            ended[who] = None

    second = threading.Thread(target=write, args=("second",))

    def held_back(name_it):
        def wait_and_name(*paths):
            if threading.current_thread() is not second:
                second.start()
                second.join(0.3)  # it may not end before the first does
            return name_it(*paths)

        return wait_and_name

    def no_links(*paths):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", held_back(real_link) if links else no_links)
    monkeypatch.setattr(Path, "replace", held_back(real_replace))
    write("first")
    second.join()
    (winner,) = (who for who, written in ended.items() if written == path)
    assert len(ended) == 2
    assert path.read_text() == winner
    assert not list(tmp_path.glob("*.part"))


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


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("cat\ndog\n", "utf-8"),
        ("猫\n狗\n", "utf-8"),
        ("猫\n狗\n", "utf-8-sig"),
        ("猫\n狗\n", "utf-16"),
        ("cat\ndog\n", "utf-16-le"),
        ("cat\ndog\n", "utf-16-be"),
        ("猫 cat\n狗 dog\n", "gbk"),
        ("犬 朱镕基 镕\n", "gbk"),  # the second byte of the last one is ASCII
        ("Löwe\nBär\nKäfer\n", "latin-1"),  # each pair would be valid in GBK, too
        ("été\nélève\n", "latin-1"),
        ("", "utf-8"),
    ],
)
def test_text_is_read_in_the_encoding_that_it_was_saved_in(text: str, encoding: str) -> None:
    data = text.encode(encoding)
    assert decode_text(data) == text
    assert is_text(text)


def test_names_of_one_file_have_one_encoding() -> None:
    names = ["卷积", "fc", "池化"]
    assert decode_names(name.encode("gbk") for name in names) == names
    assert decode_names(name.encode() for name in names) == names
    assert decode_names([b"\xe9ta", b"couche \xe9"]) == ["éta", "couche é"]
    assert decode_names([]) == []


@pytest.mark.parametrize("data", [b"\0", b"\x0a\x07AlexNet\xa2\x06\x08", b"\x89PNG\r\n\x1a\n\0\0"])
def test_what_is_not_text(data: bytes) -> None:
    assert not is_text(decode_text(data))


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="it is a pipe, not a file"):  # nobody writes into it
        read_file(tmp_path / "pipe", 10)
    with pytest.raises(OSError, match="it is a device, not a file"):
        read_file("/dev/zero", 10)
    with pytest.raises(OSError, match="Is a directory"):
        read_file(tmp_path, 10)
    with pytest.raises(OSError, match=r"not a valid path: .*embedded null"):
        read_file("a\0b", 10)
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "none", 10)


def test_a_file_is_read_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    assert read_file(path, 10) == b"0123456789"
    assert read_head(path, 3) == b"012"
    with pytest.raises(OSError, match="it has 10 bytes, but at most 9 are read"):
        read_file(path, 9)
    with path.open("wb") as file:
        file.truncate(2**40)  # holes, which take no space
    with pytest.raises(OSError, match="it has 1,099,511,627,776 bytes"):
        read_file(path, 10)


def test_nothing_is_at_a_path_that_cannot_be(tmp_path):
    assert exists(tmp_path)
    assert not any(map(exists, (tmp_path / "none", tmp_path / ("x" * 5000), "a\0b")))


@pytest.mark.parametrize(
    ("content", "said"),
    [("[" * 100_000, "nested too deeply"), ("1" * 5000, "digits"), ("{", "Expecting")],
)
def test_json_that_cannot_be_read_is_a_value_error(content, said, tmp_path):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=said):
        read_json(tmp_path / "a.json", 10**6)
