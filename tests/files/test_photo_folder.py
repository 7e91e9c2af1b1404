"""Which file a photo of an annotation file is, however its name is written, and never one outside the folder."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from pct.files.photo import PhotoError
from pct.files.photo_folder import locate_photo


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
