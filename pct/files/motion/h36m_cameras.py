"""Human3.6M's cameras, read from the user's copy of the data set's metadata.xml or from a JSON file."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch

from pct.cameras import axis_rotation

CAMERA_NAMES = ("54138969", "55011271", "58860488", "60457274")
# What is known of each camera, and the shape of it.
CAMERA_SHAPES = {"rotation": (3, 3), "position": (3,), "intrinsics": (4,), "distortion": (5,), "image_size": (2,)}
_SUBJECTS = 11
_NUMBERS, _FIRST_INTRINSIC = 300, 264
# Width and height of each camera's pictures; metadata.xml does not hold them.
_IMAGE_SIZES = ((1000, 1002), (1000, 1000), (1000, 1000), (1000, 1002))
_FOCAL = (500.0, 3000.0)  # pixels; the real ones are about 1145 to 1150


@dataclass(frozen=True)
class H36MCameras:
    """Four cameras for each of S subjects.

    Attributes:
        subjects: Names of the subjects, as ``S1``.
        rotation: World to camera (S, 4, 3, 3), for column vectors: X_camera = R (X_world - T).
        position: The camera's place T in the world (S, 4, 3), millimetres.
        intrinsics: fx, fy, cx, cy (S, 4, 4) in pixels.
        distortion: k1, k2, k3, p1, p2 (S, 4, 5), see :func:`pct.cameras.project`.
        image_size: Width and height (S, 4, 2) in pixels.
    """

    subjects: tuple[str, ...]
    rotation: np.ndarray
    position: np.ndarray
    intrinsics: np.ndarray
    distortion: np.ndarray
    image_size: np.ndarray

    def __post_init__(self) -> None:
        for name, shape in CAMERA_SHAPES.items():
            value, wanted = getattr(self, name), (len(self.subjects), 4, *shape)
            if value.shape != wanted or not np.isfinite(value).all():
                raise ValueError(f"camera {name} must be {wanted} finite numbers; got shape {value.shape}")
        focal = self.intrinsics[..., :2]
        if not ((focal >= _FOCAL[0]) & (focal <= _FOCAL[1])).all():
            raise ValueError(
                f"focal lengths are {focal.min():.4g} to {focal.max():.4g}; Human3.6M's are about 1145 to 1150 pixels"
            )
        error = np.abs(self.rotation @ self.rotation.swapaxes(-1, -2) - np.eye(3)).max()
        if error > 1e-3 or (np.linalg.det(self.rotation) < 0).any():
            raise ValueError(f"camera rotations are no rotations: R R^T is {error:.2g} away from the identity")


def read_h36m_cameras(path: str | Path) -> H36MCameras:
    """Read the cameras of Human3.6M.

    Args:
        path: ``metadata.xml`` of the data set, whose element ``w0`` holds 300 numbers; or a ``.json`` file with an
            object a subject, in it an object a camera (``54138969``, ...), in it ``rotation`` (3 x 3, world to camera),
            ``position`` (millimetres), ``intrinsics`` (fx, fy, cx, cy), ``distortion`` (k1, k2, k3, p1, p2), and
            ``image_size`` (width, height) unless it is the original.

    Raises:
        ValueError: If the file is missing, of another kind, or its numbers cannot be these cameras.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"camera file {path} does not exist; it is metadata.xml of Human3.6M, or a JSON file")
    readers = {".xml": _read_xml, ".json": _read_json}
    if path.suffix.lower() not in readers:
        raise ValueError(f"camera file {path} has suffix {path.suffix!r}; it must be one of {', '.join(readers)}")
    try:
        return readers[path.suffix.lower()](path)
    except (ValueError, TypeError, KeyError, AttributeError, ElementTree.ParseError) as error:
        raise ValueError(f"camera file {path}: {type(error).__name__}: {error}") from None


def _read_xml(path: Path) -> H36MCameras:
    """Take cameras out of the 300 numbers of ``w0``.

    For camera c and subject s, both counted from 0, six numbers from 6 (11 c + s) are three Euler angles in radians
    (R = Rx Ry Rz) and T in millimetres; nine numbers from 264 + 9 c are fx, fy, cx, cy, k1, k2, k3, p1, p2.
    """
    text = ElementTree.parse(path).getroot().findtext(".//w0")
    if not text:
        raise ValueError("no element w0 with the cameras' numbers")
    numbers = np.array([float(word) for word in re.split(r"[\s,;\[\]]+", text) if word])
    if numbers.shape != (_NUMBERS,):
        raise ValueError(f"w0 holds {numbers.size} numbers; expected {_NUMBERS}")
    extrinsics = numbers[:_FIRST_INTRINSIC].reshape(4, _SUBJECTS, 6).swapaxes(0, 1)
    x, y, z = (axis_rotation(i, torch.from_numpy(extrinsics[..., i].copy())) for i in range(3))
    intrinsics = np.broadcast_to(numbers[_FIRST_INTRINSIC:].reshape(4, 9), (_SUBJECTS, 4, 9))
    return H36MCameras(
        subjects=tuple(f"S{i + 1}" for i in range(_SUBJECTS)),
        rotation=(x @ y @ z).numpy(),
        position=extrinsics[..., 3:],
        intrinsics=intrinsics[..., :4],
        distortion=intrinsics[..., 4:],
        image_size=np.broadcast_to(np.array(_IMAGE_SIZES, np.float64), (_SUBJECTS, 4, 2)),
    )


def _read_json(path: Path) -> H36MCameras:
    content = json.loads(path.read_text(encoding="utf-8"))
    values: dict[str, list[np.ndarray]] = {name: [] for name in CAMERA_SHAPES}
    for subject, cameras in content.items():
        for camera, size in zip(CAMERA_NAMES, _IMAGE_SIZES, strict=True):
            entry = {"image_size": size, **dict(cameras).get(camera, {})}
            if set(entry) != set(CAMERA_SHAPES):
                raise ValueError(f"{subject} {camera} has {sorted(entry)}; it must have {sorted(CAMERA_SHAPES)}")
            for name, shape in CAMERA_SHAPES.items():
                found = np.array(entry[name], np.float64)
                if found.shape != shape:
                    raise ValueError(f"{subject} {camera}: {name} is {entry[name]!r}; it must be {shape} numbers")
                values[name].append(found)
    return H36MCameras(tuple(content), **{n: np.reshape(v, (-1, 4, *CAMERA_SHAPES[n])) for n, v in values.items()})
