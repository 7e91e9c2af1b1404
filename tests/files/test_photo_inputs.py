"""Photos that are named on a command line or in a file: which they are, their ids, and none outside the folder."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from pct.files.photo import PhotoError
from pct.files.photo_folder import locate_photo
from pct.files.photo_inputs import PhotoInput, choose_image_ids, find_photos


def make_files(folder, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def inputs(folder, *names: str) -> list[PhotoInput]:
    return [PhotoInput(folder / name, name, name.endswith(".mp4")) for name in names]


def test_folders_give_their_photos_and_videos_in_order(tmp_path) -> None:
    make_files(tmp_path, "in/b.JPG", "in/a.png", "in/sub/c.mp4", "in/notes.txt", "in/.hidden.png", "in/.git/d.png")
    found = find_photos([tmp_path / "in"])
    assert found == [
        PhotoInput(tmp_path / "in/a.png", "a.png", False),
        PhotoInput(tmp_path / "in/b.JPG", "b.JPG", False),
        PhotoInput(tmp_path / "in/sub/c.mp4", "sub/c.mp4", True),
    ]


def test_names_are_unique_and_no_file_comes_twice(tmp_path) -> None:
    make_files(tmp_path, "one/a.png", "two/a.png", "two/a_2.png", "odd.suffix")
    paths = [tmp_path / "one", tmp_path / "two", tmp_path / "one/a.png", tmp_path / "odd.suffix"]
    found = find_photos(paths)
    assert [photo.name for photo in found] == ["a.png", "a_3.png", "a_2.png", "odd.suffix"]
    assert len({photo.path for photo in found}) == 4


def test_what_is_not_there_is_refused(tmp_path) -> None:
    make_files(tmp_path, "empty/notes.txt")
    with pytest.raises(ValueError, match=r"empty: no photo or video in this folder; their suffixes are \.jpg"):
        find_photos([tmp_path / "empty"])
    with pytest.raises(ValueError, match=r"none\.jpg: no such file or folder"):
        find_photos([tmp_path / "none.jpg"])


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["000000000139.jpg", "COCO_val2014_000000000042.jpg"], [139, 42]),
        (["1.jpg", "sub/1.jpg"], [1, 2]),
        (["7.jpg", "beach.jpg"], [1, 2]),
        (["7.jpg", "8.mp4"], [7]),
        (["2017/photo.jpg"], [1]),
        (["2017/photo12.jpg"], [12]),
        ([f"{2**70}.jpg"], [1]),
    ],
)
def test_image_ids_are_the_numbers_in_the_names_if_they_can_be(tmp_path, names: list, ids: list) -> None:
    assert list(choose_image_ids(inputs(tmp_path, *names)).values()) == ids


@pytest.mark.parametrize(
    ("on_disk", "name"),
    [
        ("sub/1.jpg", "sub/1.jpg"),
        ("sub/1.jpg", "sub\\1.jpg"),
        ("1.JPG", "1.jpg"),
        ("sub/1.png", "sub\\1.PNG"),
        ("a\\b.jpg", "a\\b.jpg"),
        (unicodedata.normalize("NFC", "é.jpg"), unicodedata.normalize("NFD", "é.jpg")),
        (unicodedata.normalize("NFD", "é.jpg"), unicodedata.normalize("NFC", "é.jpg")),
    ],
)
def test_a_photo_is_found_however_its_name_is_written(tmp_path: Path, on_disk: str, name: str) -> None:
    (tmp_path / on_disk).parent.mkdir(exist_ok=True)
    (tmp_path / on_disk).touch()
    assert locate_photo(tmp_path, name) == tmp_path / on_disk


@pytest.mark.parametrize("name", ["../out.jpg", "..\\out.jpg", "/out.jpg", "C:\\out.jpg", "link.jpg", "links/out.jpg"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (tmp_path / "out.jpg").touch()
    (folder / "link.jpg").symlink_to(tmp_path / "out.jpg")
    (folder / "links").symlink_to(tmp_path)
    with pytest.raises(PhotoError, match="leaves the folder of the photos"):
        locate_photo(folder, name)


def test_a_missing_photo_is_looked_for_under_its_own_name(tmp_path: Path) -> None:
    assert locate_photo(tmp_path, "none.jpg") == tmp_path / "none.jpg"
