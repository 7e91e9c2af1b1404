"""One photo file to an RGB array, whatever its format; what cannot be read is an error that says why."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

# Transparent parts are shown on white, as a page would.
_BACKGROUND = (255, 255, 255, 255)
# OpenCV counts the pixels of a side with 16 bits.
_LONGEST = 32_766
# A decoded photo takes up to 4 times 3 bytes a pixel on its way, a transparent one 4 times as many: under 1 GB.
_MOST_PIXELS = 80_000_000
# 12 bits a pixel in 16 are this many times too dark.
_DARK = 16
# Orientations of the EXIF standard, as the turns of Pillow that undo them.
_ORIENTATION = 0x0112
_TURNS = dict(
    enumerate(
        ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"), 2
    )
)
# What Pillow was seen to raise on photos and notes of cameras that are damaged.
_DAMAGED = (
    *(OSError, SyntaxError, ValueError, EOFError, KeyError, TypeError, IndexError, AttributeError, struct.error),
    *(ZeroDivisionError, OverflowError, MemoryError, RuntimeError, NotImplementedError),
)
_NO_PHOTO = "not a photo, or cut off within its header"
_HEIC = (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypmif1", b"ftypmsf1", b"ftypheif")


class PhotoError(ValueError):
    """A photo that is missing, broken or not a photo; the message names the file and what is wrong."""


def read_photo(path: str | Path) -> np.ndarray:
    """Read a photo as people see it.

    Greyscale and palette become RGB, transparent parts are laid on white, 16 bits a channel are scaled to 8, and the
    rotation that a camera noted in the EXIF data is carried out.

    Args:
        path: JPEG, PNG or any other file that Pillow reads.

    Returns:
        The photo (H, W, 3) as uint8 RGB.

    Raises:
        PhotoError: If the file is missing, empty, truncated, or not a photo.
    """
    return decode_photo(read_bytes(path), path)


def as_photo(image: Any) -> np.ndarray:
    """Return a photo (H, W, 3), uint8 RGB, from a file, a Pillow picture or an array.

    Args:
        image: A photo file, a picture of Pillow, or an array of uint8: RGB (H, W, 3), RGBA (H, W, 4) which is laid on
            white, or grey (H, W) or (H, W, 1). Colours in OpenCV's order, BGR, cannot be told from RGB: turn them round
            first.

    Raises:
        PhotoError: If the photo cannot be read, or the array has another type or shape, no pixels, or as grey over 80
            million and as RGBA over 20 million of them.
    """
    if isinstance(image, (str, Path)):
        return read_photo(image)
    from PIL import Image

    if isinstance(image, Image.Image):
        with _explained("the picture"):
            return _to_rgb(image, "the picture")
    if not isinstance(image, np.ndarray):
        kind = type(image).__name__
        raise PhotoError(f"a photo must be a file, a Pillow picture or a numpy array of uint8; got {kind}")
    if image.dtype != np.uint8:
        raise PhotoError(f"a photo's array must be uint8, 0 to 255; got {image.dtype}")
    if image.ndim not in (2, 3) or image.shape[2:] not in ((), (1,), (3,), (4,)):
        raise PhotoError(f"a photo's array must be (H, W, 3), (H, W, 4) or (H, W); got shape {image.shape}")
    _check_size(image.shape[1], image.shape[0], "the array")
    if image.shape[2:] == (3,):
        return image
    return _to_rgb(Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image), "the array")


def read_bytes(path: str | Path) -> bytes:
    """Return a photo's encoded bytes.

    Raises:
        PhotoError: If there is no such file or it cannot be opened.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise PhotoError(f"{path}: the photo cannot be opened: {error.strerror or error}") from None


def decode_photo(data: bytes, name: str | Path) -> np.ndarray:
    """Decode the bytes of a photo file, which errors call ``name``; see :func:`read_photo`."""
    if not data:
        raise PhotoError(f"{name}: the photo is empty (0 bytes)")
    unread = "HEIC photos are not read; convert it to JPEG or PNG" if data[4:12] in _HEIC else _NO_PHOTO
    # A truncated file is an error here and not a picture that is grey from somewhere on.
    with _explained(name, unread), _open(io.BytesIO(data)) as image:
        return _to_rgb(image, name)


def photo_size(path: str | Path) -> tuple[int, int]:
    """Return width and height in pixels of a photo as :func:`read_photo` gives it, without decoding it."""
    with _explained(path), _open(path) as image:
        # Of a TIFF, Pillow says the size as turned in some versions; its own tags do not.
        width, height = (image.tag_v2[256], image.tag_v2[257]) if image.format == "TIFF" else image.size
        # Orientations 5 to 8 of the EXIF standard lie on their side.
        return (height, width) if _orientation(image, path) in (5, 6, 7, 8) else (width, height)


@contextmanager
def _explained(name: str | Path, unread: str = _NO_PHOTO) -> Iterator[None]:
    """Say of which photo what Pillow raises is, and ``unread`` where it does not know the format."""
    from PIL import Image

    try:
        yield
    except PhotoError:
        raise
    except Image.UnidentifiedImageError:
        raise PhotoError(f"{name}: {unread}") from None
    except Image.DecompressionBombError as error:
        raise PhotoError(f"{name}: the photo is too large to be decoded: {error}") from None
    except _DAMAGED as error:
        raise PhotoError(f"{name}: the photo is damaged or truncated: {error}") from None


def _open(source: Any) -> Any:
    """Open a picture without Pillow's warning of many pixels: how many are too many is said here."""
    from PIL import Image

    # Added once: to take it away again would forget which warnings were shown, and disturb other threads.
    if ("ignore", None, Image.DecompressionBombWarning, None, 0) not in warnings.filters:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    return Image.open(source)


def _orientation(image: Any, name: str | Path) -> Any:
    """Return how a camera noted that it was held, None if it did not."""
    try:
        return image.getexif().get(_ORIENTATION)
    except (SyntaxError, struct.error) as error:  # the notes are damaged, not the pixels
        warnings.warn(f"{name}: its EXIF notes cannot be read, so it is not turned: {error}", stacklevel=2)
        return None


def _check_size(width: int, height: int, name: str | Path, most: int = _LONGEST**2) -> None:
    """Refuse, before it is decoded, a picture whose sides OpenCV cannot count or whose pixels fill the memory."""
    if not width * height:
        raise PhotoError(f"{name}: the photo has no pixels: its size is {width}x{height}")
    if max(width, height) > _LONGEST:
        raise PhotoError(f"{name}: the photo has {width}x{height} pixels; a side has at most {_LONGEST:,}")
    if width * height > most:
        raise PhotoError(f"{name}: the photo is too large, {width}x{height} pixels; at most {most:,} are read")


def _to_rgb(image: Any, name: str | Path) -> np.ndarray:
    """Turn a Pillow image of any mode into an upright array (H, W, 3) of uint8."""
    from PIL import Image

    width, height = image.size
    _check_size(width, height, name, _MOST_PIXELS // 4 if image.has_transparency_data else _MOST_PIXELS)
    image.load()
    turn = _TURNS.get(_orientation(image, name))  # Pillow's own way fails on odd notes of other things
    image = image if turn is None else image.transpose(Image.Transpose[turn])
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; save it with 8 or 16 bits a channel")
    if image.mode.startswith("I"):
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() > 65535:
            raise ValueError(f"its greys reach from {grey.min()} to {grey.max()}; 16 bits hold 0 to 65535")
        if grey.max() < 65536 // _DARK:
            dark = f"none of its 16-bit greys is above {grey.max()} of 65535"
            few = "if the camera has fewer bits, multiply them"
            warnings.warn(f"{name}: nearly black: {dark}; {few}", stacklevel=2)
        image = Image.fromarray((grey.astype(np.int64) * 255 // 65535).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _BACKGROUND), image)
    # Pillow copies what it converts, also from RGB to RGB.
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))
