"""What surrounds generated people, and the camera's own marks: backgrounds, occluders, blur, noise, JPEG (OpenCV)."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
MAX_SIZE = 1024  # of pictures, in pixels
_SHIFT = 4  # OpenCV takes coordinates as integers with this many fractional bits
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


def draw_background(size: int, horizon: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a made-up scene (size, size, 3) uint8 RGB.

    Args:
        size: Side of the picture in pixels.
        horizon: Row at which floor and wall may meet.
        rng: Source of randomness.
    """
    import cv2

    image = _patch(size, rng)
    if rng.random() < 0.7:
        # A room or a landscape: the floor below the horizon or the foot of a wall.
        line = horizon + abs(rng.normal(0, 0.15)) * size
        slope = rng.normal(0, 0.04) * size
        floor = [(0, line - slope), (size, line + slope), (size, size), (0, size)]
        cv2.copyTo(_patch(size, rng), _mask(size, np.array(floor)), image)
    for _ in range(int(rng.integers(0, 14))):
        _add_thing(image, rng)
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


def draw_occluder(
    size: int, bbox: tuple[float, float, float, float], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a thing that hides a part of a person.

    Args:
        size: Side of the picture in pixels.
        bbox: The person's box (left, top, right, bottom) in pixels.
        rng: Source of randomness.

    Returns:
        How much it covers of each pixel (size, size) float32, and its colours (size, size, 3) uint8.
    """
    left, top, right, bottom = bbox
    width, height = right - left, bottom - top
    longer = max(width, height)
    x, y = rng.uniform(left, right), rng.uniform(top, bottom)
    kind = rng.choice(["box", "ellipse", "polygon", "pole", "table"], p=[0.28, 0.2, 0.2, 0.12, 0.2])
    if kind == "pole":
        half = longer * rng.uniform(0.02, 0.07)
        lean = rng.normal(0, 0.15) * size
        corners = np.array(
            [(x - half + lean, -9), (x + half + lean, -9), (x + half - lean, size + 9), (x - half - lean, size + 9)]
        )
    elif kind == "table":
        # Furniture, a fence, a hedge: everything below a line.
        y = bottom - height * rng.uniform(0.1, 0.55)
        reach = longer * rng.uniform(0.4, 1.5)
        slope = rng.normal(0, 0.03) * reach
        corners = np.array(
            [(x - reach, y - slope), (x + reach, y + slope), (x + reach, bottom + 9), (x - reach, bottom + 9)]
        )
    else:
        corners = _outline(str(kind), longer * rng.uniform(0.06, 0.24), rng) + np.array([x, y])
    colors = _patch(size, rng)
    return _mask(size, corners).astype(np.float32) / 255.0, colors


def photograph(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give a drawn picture (H, W, 3) float32 a camera's marks: blur, exposure, white balance, noise; uint8."""
    import cv2

    blur = rng.uniform(0.0, 1.2) if rng.random() < 0.8 else rng.uniform(1.2, 2.2)
    if blur > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), blur * len(image) / 256)
    if rng.random() < 0.1:
        kernel = np.zeros((9, 9), dtype=np.float32)
        angle, reach = rng.uniform(0, math.pi), rng.uniform(1, 4)
        end = (round(4 + reach * math.cos(angle)), round(4 + reach * math.sin(angle)))
        cv2.line(kernel, (8 - end[0], 8 - end[1]), end, 1.0, 1)
        image = cv2.filter2D(image, -1, kernel / kernel.sum())
    contrast, brightness = math.exp(rng.normal(0, 0.18)), rng.normal(0, 14)
    gains = contrast * np.exp(rng.normal(0, 0.05, 3))
    image = (image - 128.0) * gains.astype(np.float32) + np.float32(128.0 + brightness)
    noise = _noise_tile()
    y, x = (int(rng.integers(0, MAX_SIZE - n + 1)) for n in image.shape[:2])
    strength = rng.gamma(1.5, 2.2)
    image += np.float32(strength) * noise[y : y + image.shape[0], x : x + image.shape[1]]
    return np.clip(image, 0, 255).astype(np.uint8)


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """Compress an RGB picture (H, W, 3) uint8."""
    import cv2

    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()


def decode_jpeg(data: bytes) -> np.ndarray:
    """Return the RGB picture (H, W, 3) uint8 of JPEG bytes."""
    import cv2

    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{len(data)} bytes are no JPEG picture")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _patch(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return a picture (size, size, 3) uint8 of noise at several scales around a colour."""
    import cv2

    # Summed small and enlarged once: nothing in it is finer than _GRAIN values a side.
    grain = np.empty((_GRAIN, _GRAIN, 3), dtype=np.float32)
    grain[:] = _color(rng)
    for cells in (2, 5, 16, _GRAIN):
        if rng.random() < 0.75:
            channels = 3 if rng.random() < 0.3 else 1
            noise: np.ndarray = rng.standard_normal((cells, cells, channels), dtype=np.float32)
            if cells < _GRAIN:
                noise = cv2.resize(noise, (_GRAIN, _GRAIN), interpolation=cv2.INTER_CUBIC)
            strength = rng.gamma(1.2, 12.0 if cells < 10 else 6.0)
            grain += np.float32(strength) * noise.reshape(_GRAIN, _GRAIN, channels)
    image = cv2.resize(grain, (size, size), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.25:
        image += _pattern(size, rng)
    return np.clip(image, 0, 255, out=image).astype(np.uint8)


def _pattern(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return stripes, planks or tiles (size, size, 1) around 0."""
    angle = rng.choice([0.0, math.pi / 2, rng.uniform(0, math.pi)])
    period = size * rng.uniform(0.03, 0.25)
    ramp = np.arange(size, dtype=np.float32)
    along = ramp[None] * np.float32(math.cos(angle)) + ramp[:, None] * np.float32(math.sin(angle))
    wave = (along % period < rng.uniform(0.1, 0.5) * period).astype(np.float32)
    if rng.random() < 0.4:
        across = ramp[:, None] * np.float32(math.cos(angle)) - ramp[None] * np.float32(math.sin(angle))
        wave = np.maximum(wave, across % period < 0.1 * period)
    return (np.float32(rng.normal(0, 30)) * wave)[:, :, None]


def _add_thing(image: np.ndarray, rng: np.random.Generator) -> None:
    """Draw a shape, a line or a limb-like thing into the background ``image``."""
    import cv2

    size = len(image)
    color = tuple(_color(rng).tolist())
    x, y = rng.uniform(0, size, 2)
    if rng.random() < 0.3:
        angle, length = rng.uniform(0, 2 * math.pi), size * rng.uniform(0.05, 0.6)
        ends = _fixed(np.array([(x, y), (x + length * math.cos(angle), y + length * math.sin(angle))]))
        thickness = max(1, round(size * rng.uniform(0.004, 0.06)))
        cv2.line(image, ends[0].tolist(), ends[1].tolist(), color, thickness, cv2.LINE_AA, _SHIFT)
        return
    kind = str(rng.choice(["box", "ellipse", "polygon"]))
    corners = _outline(kind, size * math.exp(rng.uniform(math.log(0.03), math.log(0.35))), rng) + np.array([x, y])
    if rng.random() < 0.5:
        cv2.fillPoly(image, [_fixed(corners)], color, cv2.LINE_AA, _SHIFT)
    else:
        _paste(image, corners, rng)


def _paste(image: np.ndarray, corners: np.ndarray, rng: np.random.Generator) -> None:
    """Put a textured polygon (n, 2) into ``image``."""
    import cv2

    low = np.floor(corners.min(axis=0)).clip(0, len(image)).astype(int)
    high = np.ceil(corners.max(axis=0)).clip(0, len(image)).astype(int)
    side = int((high - low).max())
    if (high - low).min() < 2:
        return
    height, width = high[1] - low[1], high[0] - low[0]
    window = image[low[1] : high[1], low[0] : high[0]]
    mask = _mask(side, corners - low)[:height, :width]
    window[:] = cv2.copyTo(_patch(side, rng)[:height, :width], mask, window.copy())


def _outline(kind: str, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Return the corners (n, 2) of a box, an ellipse or a star-shaped polygon about the origin, in pixels."""
    stretch = math.exp(rng.normal(0, 0.4))
    if kind == "box":
        corners = np.array([(-1.0, -1.0), (1, -1), (1, 1), (-1, 1)])
    else:
        angles = np.arange(24) * (2 * math.pi / 24)
        corners = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        if kind == "polygon":
            keep = np.sort(rng.choice(24, int(rng.integers(3, 9)), replace=False))
            corners = corners[keep] * rng.uniform(0.6, 1.3, (len(keep), 1))
    corners = corners * (radius * stretch, radius / stretch)
    angle = rng.normal(0, 0.15) if kind == "box" and rng.random() < 0.6 else rng.uniform(0, 2 * math.pi)
    cos, sin = math.cos(angle), math.sin(angle)
    return corners @ np.array([[cos, sin], [-sin, cos]])


def _mask(size: int, corners: np.ndarray) -> np.ndarray:
    import cv2

    mask = np.zeros((size, size), dtype=np.uint8)
    cv2.fillPoly(mask, [_fixed(corners)], 255, cv2.LINE_AA, _SHIFT)
    return mask


def _fixed(points: np.ndarray) -> np.ndarray:
    """Return points (..., 2) in pixels as OpenCV takes them: integers (..., 2) with fractional bits."""
    return np.rint(np.clip(points, -10_000, 10_000) * (1 << _SHIFT)).astype(np.int32)


def _color(rng: np.random.Generator) -> np.ndarray:
    saturation = rng.uniform(0.0, 0.25) if rng.random() < 0.6 else rng.uniform(0.2, 0.9)
    return 255.0 * np.array(colorsys.hsv_to_rgb(rng.random(), saturation, rng.uniform(0.1, 1.0)))


@cache
def _noise_tile() -> np.ndarray:
    """Return standard normal noise (S, S, 3), always the same: drawing it anew for each picture is slow."""
    return np.random.default_rng(0).standard_normal((MAX_SIZE, MAX_SIZE, 3)).astype(np.float32)


@lru_cache(maxsize=_KEPT_PHOTOS)
def _read_photo(path: Path) -> np.ndarray:
    import cv2

    photo = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if photo is None:
        raise ValueError(f"background {path} cannot be read as a photo")
    scale = _LONGEST_PHOTO / max(photo.shape[:2])
    if scale < 1:
        photo = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(photo, cv2.COLOR_BGR2RGB)
