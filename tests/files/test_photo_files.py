"""Photo files: all kinds of pixels come as RGB, as people see them; what is broken is named and never half grey."""

from __future__ import annotations

import io
import struct
import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pct.files.photo import PhotoError, as_photo, photo_size, read_photo

SHAPES = {"L": (20, 30), "RGB": (20, 30, 3), "RGBA": (20, 30, 4)}


def pixels(mode: str = "RGB") -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, SHAPES[mode], dtype=np.uint8)


def encoded(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["png", "bmp", "tiff"])
@pytest.mark.parametrize("kind", ["RGB", "grey", "palette", "bits"])
def test_all_kinds_of_pixels_become_rgb(tmp_path: Path, form: str, kind: str) -> None:
    plain, grey = Image.fromarray(pixels()), Image.fromarray(pixels("L"))
    image = {"RGB": plain, "grey": grey, "palette": plain.quantize(16), "bits": grey.convert("1")}[kind]
    image.save(tmp_path / f"a.{form}")
    photo = read_photo(tmp_path / f"a.{form}")
    assert photo.dtype == np.uint8
    np.testing.assert_array_equal(photo, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_channels_of_a_jpeg_are_red_green_blue(tmp_path: Path, mode: str) -> None:
    Image.new("RGB", (16, 16), (200, 100, 30)).convert(mode).save(tmp_path / "a.jpg")
    np.testing.assert_allclose(read_photo(tmp_path / "a.jpg")[8, 8], (200, 100, 30), atol=3 if mode == "RGB" else 4)


def test_transparent_parts_are_laid_on_white(tmp_path: Path) -> None:
    rgba = np.zeros((20, 30, 4), np.uint8)
    rgba[:, :10] = (10, 20, 30, 255)
    rgba[:, 10:20] = (0, 0, 0, 128)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    assert (photo[:, :10] == (10, 20, 30)).all()
    assert (photo[:, 10:20] == 127).all()
    assert (photo[:, 20:] == 255).all()


def test_a_transparent_palette_entry_is_white(tmp_path: Path) -> None:
    image = Image.new("P", (10, 10), 0)
    image.putpalette([9, 9, 9, 80, 90, 100])
    image.paste(1, (0, 0, 5, 10))
    image.save(tmp_path / "a.png", transparency=0)
    photo = read_photo(tmp_path / "a.png")
    assert (photo[:, :5] == (80, 90, 100)).all()
    assert (photo[:, 5:] == 255).all()


@pytest.mark.parametrize("form", ["png", "tiff"])
def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path, form: str) -> None:
    grey = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    Image.fromarray(grey).save(tmp_path / f"a.{form}")
    assert read_photo(tmp_path / f"a.{form}")[0, :, 0].tolist() == [0, 1, 128, 255]


def test_twelve_bits_in_sixteen_are_said_to_be_nearly_black(tmp_path: Path) -> None:
    Image.fromarray(np.linspace(0, 4095, 600, dtype=np.uint16).reshape(20, 30)).save(tmp_path / "a.png")
    with pytest.warns(UserWarning, match=r"a\.png: nearly black: .* above 4095 of 65535"):
        read_photo(tmp_path / "a.png")


@pytest.mark.parametrize(
    "odd",
    [(0x0100, 12, struct.pack("<d", 1.5)), (0x011A, 11, b"\0\0\xc0\x7f"), (0x0128, 7, b"x\0\0\0")],
    ids=["fraction of pixels", "not a number", "text"],
)
def test_odd_notes_of_a_camera_do_not_keep_a_photo_from_being_turned(tmp_path: Path, odd: tuple) -> None:
    tag, kind, value = odd
    place = struct.pack("<I", 38) if len(value) > 4 else value
    entries = sorted([struct.pack("<HHI", tag, kind, 1) + place, struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)])
    notes = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + b"".join(entries) + bytes(4) + value
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=notes)
    assert read_photo(tmp_path / "a.jpg").shape == (30, 20, 3)
    assert photo_size(tmp_path / "a.jpg") == (20, 30)


@pytest.mark.parametrize("form", ["png", "webp"])
@pytest.mark.parametrize("notes", [b"no notes", b"II*\0", b""])
def test_a_photo_whose_notes_are_damaged_is_read(tmp_path: Path, form: str, notes: bytes) -> None:
    path = tmp_path / f"a.{form}"
    Image.fromarray(pixels()).save(path, exif=b"Exif\0\0" + notes, lossless=True)
    with nullcontext() if not notes else pytest.warns(UserWarning, match=rf"a\.{form}: its EXIF notes cannot be read"):
        np.testing.assert_array_equal(read_photo(path), pixels())
        assert photo_size(path) == (30, 20)


def test_pictures_of_pillow_are_checked_as_files_are() -> None:
    cut = io.BytesIO(encoded(Image.fromarray(pixels()), "png")[:200])
    for picture in (Image.open(cut), Image.new("RGB", (0, 3)), Image.new("F", (2, 2))):
        with pytest.raises(PhotoError, match=r"the picture"):
            as_photo(picture)


@pytest.mark.parametrize("form", ["png", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_carried_out(tmp_path: Path, orientation: int, form: str) -> None:
    upright = pixels()
    # How a camera stores the picture so that the standard's rule for the orientation makes it upright again.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{form}"
    noted = {"tiffinfo": {0x0112: orientation}} if form == "tiff" else {"exif": exif}
    Image.fromarray(np.ascontiguousarray(stored)).save(path, **noted)
    np.testing.assert_array_equal(read_photo(path), upright)
    assert photo_size(path) == (30, 20)


@pytest.mark.parametrize("form", ["jpeg", "png", "bmp", "gif", "tiff", "webp"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path: Path, form: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), form)
    (tmp_path / "cut").write_bytes(data)
    read_photo(tmp_path / "cut")
    (tmp_path / "cut").write_bytes(data[: int(share * len(data))])
    with pytest.raises(PhotoError, match=r"cut: (the photo is damaged or truncated|not a photo)"):
        read_photo(tmp_path / "cut")


@pytest.mark.parametrize("missing", [1, 2, 16])
def test_a_jpeg_without_its_last_bytes_is_truncated(tmp_path: Path, missing: int) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(Image.fromarray(pixels()), "jpeg")[:-missing])
    with pytest.raises(PhotoError, match=r"a\.jpg: the photo is damaged or truncated"):
        read_photo(tmp_path / "a.jpg")


def test_what_is_no_photo_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not a photo at all")
    for name, reason in (("empty.jpg", "empty"), ("text.jpg", "not a photo"), ("none.jpg", "No such file")):
        with pytest.raises(PhotoError, match=rf"{name}: .*{reason}"):
            read_photo(tmp_path / name)
    with pytest.raises(PhotoError, match="cannot be opened"):
        read_photo(tmp_path)
    with pytest.raises(PhotoError, match=r"none\.jpg"):
        photo_size(tmp_path / "none.jpg")


def test_numbers_beyond_sixteen_bits_are_refused(tmp_path: Path) -> None:
    for value, sentence in ((np.float32(0.5), "floating-point"), (np.int32(70_000), "70000")):
        Image.fromarray(np.full((4, 4), value)).save(tmp_path / "a.tiff")
        with pytest.raises(PhotoError, match=sentence):
            read_photo(tmp_path / "a.tiff")


@pytest.mark.parametrize(("size", "reason"), [((33_000, 2), "a side has at most 32,766"), ((9000, 9000), "too large")])
def test_pictures_that_fill_the_memory_are_refused_by_their_header(tmp_path, size, reason) -> None:
    path = tmp_path / "large.png"
    Image.new("1", size).save(path)
    with pytest.raises(PhotoError, match=rf"large\.png: the photo .*{reason}"):
        read_photo(path)


def test_a_heic_photo_says_what_to_do(tmp_path) -> None:
    path = tmp_path / "phone.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(200))
    with pytest.raises(PhotoError, match=r"phone\.heic: HEIC photos are not read; convert it to JPEG"):
        read_photo(path)


def test_reading_photos_keeps_the_record_of_warnings_that_were_shown(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        for _ in range(3):
            read_photo(tmp_path / "a.png")
            warnings.warn("once", stacklevel=1)
    # The first photo may add its filter, before any warning; the others leave the record alone.
    assert [str(warning.message) for warning in shown] == ["once"]
