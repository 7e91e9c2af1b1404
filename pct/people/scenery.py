"""What is behind generated people, and the camera's own marks: blur, noise, JPEG (OpenCV)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from pct.files.photo import read_photo
from pct.people.figure import draw_color

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
MAX_SIZE = 1024  # of pictures, in pixels
_SHIFT = 4
_GRAIN = 64  # values a side of the finest noise
_LONGEST_PHOTO, _KEPT_PHOTOS = 512, 200  # pixels, number: what is kept in memory of a background folder


def list_photos(folder: str | Path) -> tuple[Path, ...]:
    """Return the photos of a folder in the order of their names.

    Raises:
        ValueError: If the folder is missing or has no photo.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"background folder {folder} does not exist")
    photos = tuple(sorted(p for p in folder.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES))
    if not photos:
        raise ValueError(f"background folder {folder} has no photo ({', '.join(PHOTO_SUFFIXES)})")
    return photos


def draw_background(size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a made-up scene (size, size, 3) uint8 RGB: a wall, a floor, and things."""
    import cv2

    image = _patch(size, rng)
    line, slope = rng.normal(0.5, 0.25) * size, rng.normal(0, 0.04) * size
    shapes = [np.array([(0, line - slope), (size, line + slope), (size, size), (0, size)])]
    for _ in range(int(rng.integers(0, 14))):
        radius = size * math.exp(rng.uniform(math.log(0.03), math.log(0.35)))
        shapes.append(_outline(radius, rng) + rng.uniform(0, size, 2))
    for shape in shapes:
        cv2.copyTo(_patch(size, rng), _mask(size, shape), image)
    return image


def photo_background(photos: Sequence[Path], size: int, rng: np.random.Generator) -> np.ndarray:
    """Return a random crop (size, size, 3) uint8 RGB of one of the photos, mirrored half of the time."""
    import cv2

    photo = _read_photo(photos[int(rng.integers(len(photos)))])
    shorter = min(photo.shape[:2])
    side = max(1, int(shorter * rng.uniform(0.4, 1.0)))
    y, x = (int(rng.integers(0, n - side + 1)) for n in photo.shape[:2])
    crop = cv2.resize(photo[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(crop[:, ::-1]) if rng.random() < 0.5 else crop


def photograph(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give a drawn picture (H, W, 3) float32 a camera's marks: blur, exposure, white balance, noise; uint8."""
    import cv2

    blur = rng.uniform(0.0, 1.8)
    if blur > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), blur * len(image) / 256)
    contrast, brightness = math.exp(rng.normal(0, 0.18)), rng.normal(0, 14)
    gains = contrast * np.exp(rng.normal(0, 0.05, 3))
    noise = rng.gamma(1.5, 2.2) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip((image - 128.0) * gains + 128.0 + brightness + noise, 0, 255).astype(np.uint8)


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """Compress an RGB picture (H, W, 3) uint8."""
    import cv2

    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()


def _patch(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return a picture (size, size, 3) uint8 of noise at several scales around a colour."""
    import cv2

    # Summed small and enlarged once: nothing in it is finer than _GRAIN values a side.
    grain = np.empty((_GRAIN, _GRAIN, 3), dtype=np.float32)
    grain[:] = draw_color(rng)
    for cells in (2, 5, 16, _GRAIN):
        if rng.random() < 0.75:
            noise: np.ndarray = rng.standard_normal((cells, cells, 3 if rng.random() < 0.3 else 1), dtype=np.float32)
            noise = cv2.resize(noise, (_GRAIN, _GRAIN), interpolation=cv2.INTER_CUBIC)
            grain += np.float32(rng.gamma(1.2, 12.0 if cells < 10 else 6.0)) * noise.reshape(_GRAIN, _GRAIN, -1)
    image = cv2.resize(grain, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.clip(image, 0, 255).astype(np.uint8)


def _outline(radius: float, rng: np.random.Generator) -> np.ndarray:
    """Return the corners (n, 2) of a box, an ellipse or a pole about the origin, in pixels."""
    number, stretch = int(rng.choice([4, 24])), math.exp(rng.normal(0, 0.8))
    angles = (np.arange(number) + 0.5) * (2 * math.pi / number)
    corners = radius * np.stack([np.cos(angles) * stretch, np.sin(angles) / stretch], axis=1)
    angle = rng.normal(0, 0.15) if rng.random() < 0.5 else rng.uniform(0, 2 * math.pi)
    cos, sin = math.cos(angle), math.sin(angle)
    return corners @ np.array([[cos, sin], [-sin, cos]])


def _mask(size: int, corners: np.ndarray) -> np.ndarray:
    import cv2

    mask = np.zeros((size, size), dtype=np.uint8)
    # OpenCV takes coordinates as integers with fractional bits.
    fixed = np.rint(np.clip(corners, -10_000, 10_000) * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, _SHIFT)
    return mask


@lru_cache(maxsize=_KEPT_PHOTOS)
def _read_photo(path: Path) -> np.ndarray:
    import cv2

    photo = read_photo(path)
    scale = _LONGEST_PHOTO / max(photo.shape[:2])
    return cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else photo
