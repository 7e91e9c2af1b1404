"""Outputs: whole or not there, all new or all old, never somebody else's, one winner, whoever is killed when."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from pct.files import output_folder
from pct.files.output import OutputError, atomic_output, check_output, open_atomically, write_atomically
from pct.files.output_folder import finish_outputs, outputs_together

HOLD = """
import signal, sys
from pathlib import Path
from pct.files.output import open_atomically, stop_in_order
# Who started the tests may ignore signals, as nohup does.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
stop_in_order()
with open_atomically("out.txt") as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    sys.stdin.read()
"""


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def start_writer(folder: Path) -> subprocess.Popen[str]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", HOLD], cwd=folder, **pipes)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def test_an_output_made_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    with pytest.raises(FileExistsError, match="--force"), atomic_output(out, force=False):
        out.write_bytes(b"theirs")
    assert out.read_bytes() == b"theirs"
    assert left(tmp_path) == ["out.txt"]


def test_without_hard_links_nothing_is_replaced_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    out = tmp_path / "out.txt"
    with open_atomically(out) as file:
        file.write(b"mine")
    assert out.read_bytes() == b"mine"
    with pytest.raises(FileExistsError), atomic_output(out, force=False) as temporary:
        temporary.write_bytes(b"later")
    assert out.read_bytes() == b"mine"
    assert left(tmp_path) == ["out.txt"]


def test_a_replaced_file_hands_on_its_mode_and_a_new_one_has_the_usual(tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    before = os.umask(0o027)
    try:
        write_atomically(out, b"1")
        assert out.stat().st_mode & 0o777 == 0o640
        out.chmod(0o604)
        write_atomically(out, b"2")
    finally:
        os.umask(before)
    assert out.stat().st_mode & 0o777 == 0o604
    assert out.read_bytes() == b"2"


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_is_no_plain_file_is_not_replaced(tmp_path: Path, kind: str) -> None:
    out, other = tmp_path / "out.txt", tmp_path / "other.txt"
    other.write_bytes(b"other")
    out.symlink_to(other) if kind == "link" else os.mkfifo(out)
    with pytest.raises(OutputError, match="no plain file"):
        check_output(out, force=True)


def test_a_full_disk_names_the_output(tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    with pytest.raises(OutputError, match=r"out\.txt cannot be written: No space left"), open_atomically(out):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert left(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_leave_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    process = start_writer(tmp_path)
    assert len(left(tmp_path)) == 1
    process.send_signal(number)
    process.communicate(timeout=60)
    assert left(tmp_path) == []


def test_only_what_a_killed_writer_left_of_the_same_output_is_removed(tmp_path: Path) -> None:
    others = [".out.txt.tmp", ".other.txt.0123456789abcdef.tmp", "planted"]
    for name in others:
        (tmp_path / name).write_bytes(b"x")
    link = tmp_path / ".out.txt.0123456789abcdef.tmp"
    link.symlink_to(tmp_path / "planted")
    killed, living = start_writer(tmp_path), start_writer(tmp_path)
    killed.kill()
    killed.communicate(timeout=60)
    assert len(left(tmp_path)) == len(others) + 3
    write_atomically(tmp_path / "out.txt", b"whole")
    assert len(left(tmp_path)) == len(others) + 3  # the link, the living writer's, and the output
    living.communicate(timeout=60)
    assert living.returncode != 0
    assert (tmp_path / "out.txt").read_bytes() == b"whole"
    assert left(tmp_path) == sorted([*others, link.name, "out.txt"])


def test_files_are_written_where_there_are_no_locks_as_on_windows(tmp_path: Path) -> None:
    code = """
import os, signal, sys
sys.modules["fcntl"] = None
del signal.SIGHUP, os.O_NOFOLLOW, os.O_NONBLOCK
from pathlib import Path
from pct.files.output import open_atomically, stop_in_order
stop_in_order()
for force in (False, True):
    with open_atomically("out.txt", force) as file:
        file.write(b"whole")
"""
    (tmp_path / ".out.txt.0123456789abcdef.tmp").touch()
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert left(tmp_path) == ["out.txt"]
    assert (tmp_path / "out.txt").read_bytes() == b"whole"


NAMES = ("a.txt", "b.txt", "pictures")


def write(folder: Path, text: str, names: tuple[str, ...] = NAMES, force: bool = False) -> None:
    with outputs_together(folder, NAMES, force) as half:
        for name in names:
            if name == "pictures":
                (half / name).mkdir()
            (half / name / "1.txt" if name == "pictures" else half / name).write_text(text)


def content(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in sorted(folder.rglob("*")) if file.is_file()}


def whole(text: str) -> dict[str, str]:
    return {"a.txt": text, "b.txt": text, "pictures/1.txt": text}


def test_outputs_appear_together_and_others_stay(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")
    (tmp_path / "out/a.txt").chmod(0o604)
    (tmp_path / "out/mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"a\.txt exists; give --force"):
        write(tmp_path / "out", "new")
    assert content(tmp_path / "out") == {**whole("old"), "mine.txt": "mine"}
    write(tmp_path / "out", "new", force=True)
    assert content(tmp_path / "out") == {**whole("new"), "mine.txt": "mine"}
    assert (tmp_path / "out/a.txt").stat().st_mode & 0o777 == 0o604
    write(tmp_path / "out", "last", NAMES[:2], force=True)
    assert content(tmp_path / "out") == {"a.txt": "last", "b.txt": "last", "mine.txt": "mine"}


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    def fail() -> None:
        with outputs_together(tmp_path / "out", NAMES) as half:
            (half / "a.txt").write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("moves", range(1, 6))
def test_who_is_killed_between_the_names_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    write(tmp_path, "old")
    count = 0

    class Killed(BaseException):
        pass

    def stop_after(move):
        def moved(self: Path, target: Path) -> Path:
            nonlocal count
            count += 1
            if count > moves:
                raise Killed
            return move(self, target)

        return moved

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", stop_after(Path.rename))
        patch.setattr(Path, "replace", stop_after(Path.replace))
        patch.setattr(output_folder.shutil, "rmtree", lambda *_, **__: None)
        with suppress(Killed):
            write(tmp_path, "new", force=True)
    finish_outputs(tmp_path, NAMES)
    assert content(tmp_path) == whole("new")


def test_a_signal_while_names_are_given_waits_until_all_have_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, handler = Path.replace, signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupted(path: Path, target: Path) -> Path:
        signal.raise_signal(signal.SIGINT)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, "new")
    finally:
        signal.signal(signal.SIGINT, handler)
    assert content(tmp_path) == whole("new")
    assert not list(tmp_path.glob(".*"))


def test_of_two_writers_one_wins_and_half_made_outputs_of_the_dead_go(tmp_path: Path) -> None:
    dead = tmp_path / f".results.{'0' * 16}"
    dead.mkdir()

    def lose() -> None:
        with outputs_together(tmp_path, NAMES) as half:
            assert not dead.exists()
            write(tmp_path, "first")
            (half / "a.txt").write_text("second")

    with pytest.raises(FileExistsError):
        lose()
    assert content(tmp_path) == whole("first")


def test_a_link_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "target").touch()
    (tmp_path / "a.txt").symlink_to(tmp_path / "target")
    with pytest.raises(OutputError, match="no plain file"):
        write(tmp_path, "new", force=True)


@pytest.mark.parametrize("name", ["a.json", ""])
def test_a_full_disk_names_the_output_and_not_what_it_is_made_in(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(OutputError) as caught,
        outputs_together(tmp_path / "out", ["a.json"]) as half,
        open_atomically(half / name) if name else nullcontext(),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(caught.value) == f"output {tmp_path / 'out' / name} cannot be written: No space left on device"
    assert not list(tmp_path.iterdir())
