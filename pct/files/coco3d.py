"""What COCO-format files of generated people say beyond COCO: 3D joints of the persons, cameras of the photos."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pct.skeleton import H36M17

_CAMERA = ("fx", "fy", "cx", "cy")


def read_keypoints3d(annotation: Mapping[str, Any], name: str, report: Callable[[str], None]) -> np.ndarray | None:
    """Read ``keypoints3d`` of an annotation.

    Args:
        annotation: Of a COCO-format file.
        name: What a report calls it.
        report: Called with a sentence if the joints are bad; they count as not known then.

    Returns:
        Human3.6M's joints (17, 3) in camera millimetres, float32: x right, y down, z away from the camera; None where
        they are not known.
    """
    values = annotation.get("keypoints3d")
    if values is None:
        return None
    k = H36M17.num_keypoints
    good = isinstance(values, list) and len(values) == k and all(_are_numbers(joint, 3) for joint in values)
    if not good:
        report(f"{name}: keypoints3d must be {k} joints [x, y, z] of finite millimetres; they are left out")
        return None
    return np.array(values, np.float32)


def read_intrinsics(image: Mapping[str, Any]) -> np.ndarray | None:
    """Return fx, fy, cx, cy (4,) in pixels, float32, of a good image entry; None without ``camera``."""
    camera = image.get("camera")
    return None if camera is None else np.array([camera[name] for name in _CAMERA], np.float32)


def find_camera_fault(image: Mapping[str, Any]) -> str | None:
    """Say what is wrong with ``camera`` of an image entry and what would be right, or return None."""
    camera = image.get("camera")
    if camera is None:
        return None
    values: list[Any] = [camera.get(name) for name in _CAMERA] if isinstance(camera, Mapping) else []
    if not _are_numbers(values, 4) or min(values[:2]) <= 0:
        return f"camera is {camera!r}; expected numbers fx, fy (positive), cx, cy in pixels"
    return None


def _are_numbers(values: Any, number: int) -> bool:
    if not isinstance(values, list) or len(values) != number:
        return False
    return all(isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in values)
