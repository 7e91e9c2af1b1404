"""One photo file to an RGB array, whatever its format; what cannot be read is an error that says why."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

# Transparent parts are shown on white, as a page would.
_BACKGROUND = (255, 255, 255, 255)


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
    """Decode the bytes of a photo file; see :func:`read_photo`.

    Args:
        data: The whole file.
        name: What an error calls it.
    """
    from PIL import Image, ImageOps

    if not data:
        raise PhotoError(f"{name}: the photo is empty (0 bytes)")
    try:
        # A truncated file is an error here and not a picture that is grey from somewhere on.
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
    except Image.UnidentifiedImageError:
        raise PhotoError(f"{name}: not a photo, or cut off within its header ({len(data):,} bytes)") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise PhotoError(f"{name}: the photo is damaged or truncated: {error}") from None


def photo_size(path: str | Path) -> tuple[int, int]:
    """Return width and height in pixels of a photo as :func:`read_photo` gives it, without decoding it."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            # Orientations 5 to 8 of the EXIF standard lie on their side.
            lying = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            return (image.height, image.width) if lying else (image.width, image.height)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise PhotoError(f"{path}: the photo cannot be read: {error}") from None


def _to_rgb(image: Any) -> np.ndarray:
    """Turn a decoded Pillow image of any mode into an array (H, W, 3) of uint8."""
    from PIL import Image

    if image.mode.startswith("I"):
        image = Image.fromarray(_to_8_bits(np.asarray(image)))
    elif image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; save it with 8 or 16 bits a channel")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _BACKGROUND), image)
    return np.array(image.convert("RGB"))


def _to_8_bits(grey: np.ndarray) -> np.ndarray:
    if grey.min() < 0 or grey.max() > 65535:
        raise ValueError(f"its greys reach from {grey.min()} to {grey.max()}; 16 bits hold 0 to 65535")
    return (grey.astype(np.int64) * 255 // 65535).astype(np.uint8)
