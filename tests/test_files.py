"""Files: whole or as they were, through links and pipes, one writer to a folder, and no guess called damage."""

from __future__ import annotations

import csv
import errno
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
import torch

from vidlib import files
from vidlib.files import atomic_write, check_zip, only_writer, read_whole, sha256, user_path, write_rows
from vidlib.history import read_history, write_history
from vidlib.tensors import read_tensors, tensors_to_bytes
from vidlib.training import read_checkpoint
from vidlib.weights import load_model

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@posix
def test_a_link_stays_a_link_and_its_target_is_rewritten(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "s.json").write_text("old")
    (tmp_path / "s.json").symlink_to(tmp_path / "disk" / "s.json")
    (tmp_path / "new.json").symlink_to(tmp_path / "disk" / "not there yet.json")
    for name in ("s.json", "new.json"):
        with atomic_write(tmp_path / name) as file:
            file.write_text("new")
        assert (tmp_path / name).is_symlink() and (tmp_path / name).read_text() == "new"
    assert names(tmp_path / "disk") == ["not there yet.json", "s.json"]
    assert names(tmp_path) == ["disk", "new.json", "s.json"]


@posix
def test_a_pipe_stays_a_pipe_and_gets_the_bytes_if_somebody_reads(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with atomic_write(tmp_path / "pipe") as file:
        file.write_text("nobody reads this")  # and nobody waits
    assert (tmp_path / "pipe").is_fifo() and names(tmp_path) == ["pipe"]
    reader, got = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK), []
    with atomic_write(tmp_path / "pipe") as file:
        file.write_text("new")
    got = os.read(reader, 100)
    os.close(reader)
    assert got == b"new" and (tmp_path / "pipe").is_fifo() and names(tmp_path) == ["pipe"]


@posix
def test_a_pipe_with_a_slow_reader_gets_more_than_it_holds(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    got = []
    thread = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    thread.start()
    while not got:  # until the reader has opened it, nobody reads
        with atomic_write(tmp_path / "pipe") as file:
            file.write_bytes(b"x" * 300_000)
        thread.join(0.05)
    assert got == [b"x" * 300_000]


@posix
def test_a_device_gets_the_bytes():
    with atomic_write("/dev/null") as file:
        file.write_text("away with it")
    assert Path("/dev/null").is_char_device()


@posix
def test_every_file_gets_the_mode_of_an_ordinary_one_and_an_old_file_keeps_its_own(tmp_path):
    def owner_only(file: Path) -> None:
        os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600))

    old = os.umask(0o027)
    try:
        for name, write in (("text", lambda f: f.write_text("a")), ("secret", owner_only)):
            with atomic_write(tmp_path / name) as file:
                write(file)
            assert (tmp_path / name).stat().st_mode & 0o777 == 0o640
        (tmp_path / "text").chmod(0o604)
        with atomic_write(tmp_path / "text") as file:
            file.write_text("b")
        assert (tmp_path / "text").stat().st_mode & 0o777 == 0o604
    finally:
        os.umask(old)


@posix
def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path):
    script = "import os, sys; from vidlib.files import atomic_write; w = atomic_write(sys.argv[1]); "
    script += "w.__enter__().write_text('half'); os.kill(os.getpid(), 9)"
    for name in ("a.csv", "b.csv"):
        assert subprocess.run([sys.executable, "-c", script, str(tmp_path / name)]).returncode == -9
    (tmp_path / ".a-notes.csv").write_text("mine")
    (tmp_path / ".a-0123456789.csv").write_text("mine too")
    assert len(names(tmp_path)) == 4
    with atomic_write(tmp_path / "a.csv") as file:
        file.write_text("whole")
        with atomic_write(tmp_path / "a.csv") as other:  # a writer that lives is left alone
            other.write_text("another")
        assert file.exists()
    left = names(tmp_path)
    assert (tmp_path / "a.csv").read_text() == "whole"
    assert len(left) == 4 and {"a.csv", ".a-notes.csv", ".a-0123456789.csv"} < {*left}  # and that of b.csv


def test_a_writer_that_writes_nothing_is_an_error(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(OSError, match=r"a could not be written \(No such file"), atomic_write(tmp_path / "a"):
        pass
    assert (tmp_path / "a").read_text() == "old" and names(tmp_path) == ["a"]


def test_a_folder_belongs_to_one_writer(tmp_path):
    script = "import sys, time; from vidlib.files import only_writer\n"
    script += "with only_writer(sys.argv[1], 'sweep'): print('in', flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline().strip() == b"in"
        refused = pytest.raises(RuntimeError, match="Another sweep writes into .*: wait for it, or choose another")
        with refused, only_writer(tmp_path, "sweep"):
            raise AssertionError("two writers")
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    with only_writer(tmp_path, "sweep"):  # however the other one ended
        pass


def test_a_folder_that_is_a_file_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("mine")
    refused = pytest.raises(OSError, match="file cannot be used as a folder .*: choose another one")
    with refused, only_writer(tmp_path / "file", "training"):
        pass


# No guess is called damage


@pytest.fixture
def artefacts(tmp_path):
    """One file of each kind that is read again, and who reads it."""
    (tmp_path / "m.safetensors").write_bytes(tensors_to_bytes({"a": torch.zeros(2)}, {}))
    torch.save({"a": torch.zeros(2)}, tmp_path / "checkpoint.pt")
    row = {"epoch": 1, "steps": 2, "clips": 3, "validation_mse": 4.0, "seconds": 5.0}
    write_history([row], tmp_path / "history.csv")
    return {
        "m.safetensors": [read_tensors, load_model],
        "checkpoint.pt": [lambda file: read_checkpoint(file.parent), check_zip],
        "history.csv": [read_history],
    }


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE])
@pytest.mark.parametrize("name", ["m.safetensors", "checkpoint.pt", "history.csv"])
def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path, monkeypatch, artefacts, name, code):
    import builtins
    import io

    def broken(file, *args, **options):
        if str(file).endswith(name):
            raise OSError(code, os.strerror(code), str(file))
        return opened(file, *args, **options)

    opened = io.open
    monkeypatch.setattr(io, "open", broken)
    monkeypatch.setattr(builtins, "open", broken)
    for read in artefacts[name]:
        with pytest.raises(OSError, match=name) as caught:
            read(tmp_path / name)
        text = str(caught.value)
        assert os.strerror(code) in text and "\n" not in text
        for guess in ("damage", "truncated", "changed", "delete", "no history", "copy"):
            assert guess not in text


def test_a_checkpoint_of_another_program_is_not_called_damaged(tmp_path):
    for foreign in ({"model": {}}, [1, 2], torch.zeros(2)):
        torch.save(foreign, tmp_path / "checkpoint.pt")
        with pytest.raises(ValueError, match="is whole, but no checkpoint of this version of the package: go on with"):
            read_checkpoint(tmp_path)
    with zipfile.ZipFile(tmp_path / "checkpoint.pt", "w") as archive:
        archive.writestr("hello", "world")
    with pytest.raises(ValueError, match="is whole, but no checkpoint"):
        read_checkpoint(tmp_path)


def test_every_changed_byte_of_a_zip_file_is_seen_or_changes_nothing(tmp_path):
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("numbers", bytes(range(64)))
    whole = file.read_bytes()
    seen = 0
    for at in range(len(whole)):
        for bit in (1, 128):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
            try:
                check_zip(file)
            except zipfile.BadZipFile:
                seen += 1
            else:
                with zipfile.ZipFile(file) as archive:
                    assert [archive.read(name) for name in archive.namelist()] in ([bytes(range(64))], [])
    assert seen > len(whole)


@pytest.mark.parametrize(
    "text",
    ["", "hello", "epoch\n1", "a,b\n1,2", "epoch,steps,clips,validation_mse,seconds\n1,2,3,4,5\n3,4,5,6,7", "\x00\xff"],
)
def test_what_is_no_history_is_one_sentence(tmp_path, text):
    (tmp_path / "history.csv").write_text(text)
    with pytest.raises(ValueError, match=r"history\.csv is no history of a training \(.*\), expected rows") as caught:
        read_history(tmp_path / "history.csv")
    assert "\n" not in str(caught.value)


# Wrong calls

NO_PATH = (None, 3, True, b"a", "", [], 1.5)


@pytest.mark.parametrize("wrong", NO_PATH, ids=repr)
@pytest.mark.parametrize(
    "call",
    [
        user_path, sha256, read_whole, read_history, read_tensors, load_model, read_checkpoint,
        lambda path: atomic_write(path).__enter__(),
        lambda path: only_writer(path, "training").__enter__(),
        lambda path: write_rows(path, [{"a": 1}]),
    ],
    ids=["user_path", "sha256", "read_whole", "read_history", "read_tensors", "load_model", "read_checkpoint",
         "atomic_write", "only_writer", "write_rows"],
)  # fmt: skip
def test_what_is_no_path_is_one_sentence(call, wrong):
    with pytest.raises(ValueError, match="is no path, expected the name of a file or folder"):
        call(wrong)


@pytest.mark.parametrize(
    "rows, sentence",
    [
        ([], "there are no rows for"),
        (None, "there are no rows for"),
        ("ab", "there are no rows for"),
        ([{}], "there are no rows for"),
        ([1], "there are no rows for"),
        ({"a": 1}, "there are no rows for"),
        ([{"a": 1}, {"a": 2, "b": 3}], "'b' is no column of .*, expected one of a"),
    ],
    ids=repr,
)
def test_rows_that_are_none_are_one_sentence(tmp_path, rows, sentence):
    with pytest.raises(ValueError, match=sentence):
        write_rows(tmp_path / "a.csv", rows)
    assert names(tmp_path) == []


def test_rows_with_gaps_are_written(tmp_path):
    write_rows(tmp_path / "a.csv", [{"a": 1, "b": "x, y"}, {"b": 'say "z"'}])
    with (tmp_path / "a.csv").open(newline="") as lines:
        assert list(csv.DictReader(lines)) == [{"a": "1", "b": "x, y"}, {"a": "", "b": 'say "z"'}]


def test_a_home_that_nobody_knows_is_one_sentence(monkeypatch):
    with pytest.raises(ValueError, match="begins with a home that is not known here: write the whole path"):
        user_path("~nobody-has-this-name/a")
    assert files.user_path("~") == Path.home()
