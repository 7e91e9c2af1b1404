"""Outputs that belong together: all new or all old, whoever is killed when, and one winner."""

from __future__ import annotations

import errno
import signal
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from pct.files import output_folder
from pct.files.output import OutputError, open_atomically
from pct.files.output_folder import finish_outputs, outputs_together

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
