"""Human3.6M as it is published, converted once to a plain .npz: VideoPose3D's pickled poses, the data set's cameras."""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch

from pct.cameras import axis_rotation
from pct.files.motion.checks import check_unit
from pct.files.npz import NpzError, check_file, write_npz
from pct.files.output import check_output
from pct.skeleton import COCO17, H36M16, H36M17, Skeleton

FORMAT = "pct-h36m-1"
# The 17 joints that move on their own, among the 32 of the mocap skeleton. Shoulders hang on the thorax in our
# skeleton's edges, whatever the 32 joints' parents say.
KEPT_JOINTS = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
# The recording whose video is damaged: files may lack it.
MAY_LACK = ("S11", "Directions")
_LAYOUTS: dict[tuple[str, int], Skeleton] = {("h36m", 17): H36M17, ("h36m", 16): H36M16, ("coco", 17): COCO17}
_OTHER_NAMES = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog"}
CAMERA_NAMES = ("54138969", "55011271", "58860488", "60457274")
# What is known of each camera, and the shape of it.
CAMERA_SHAPES = {"rotation": (3, 3), "position": (3,), "intrinsics": (4,), "distortion": (5,), "image_size": (2,)}
_SUBJECTS = 11
_NUMBERS, _FIRST_INTRINSIC = 300, 264
# Width and height of each camera's pictures; metadata.xml does not hold them.
_IMAGE_SIZES = ((1000, 1002), (1000, 1000), (1000, 1000), (1000, 1002))
_FOCAL = (500.0, 3000.0)  # pixels; the real ones are about 1145 to 1150

Recordings = dict[tuple[str, str], Any]  # by subject and action


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
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise ValueError(f"camera file {path}: {kind}{error}") from None


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


def normalise_action(name: str) -> str:
    """Return an action's usual name with its take: ``TakingPhoto 1`` is ``Photo 1``."""
    action, _, take = name.strip().partition(" ")
    return f"{_OTHER_NAMES.get(action, action)} {take}".strip()


def action_of(name: str) -> str:
    """Return the action of a recording without its take: all before the blank, never a mere prefix."""
    return name.partition(" ")[0]


def convert_h36m(
    out: str | Path,
    poses: str | Path,
    detections: Sequence[str | Path],
    cameras: H36MCameras,
    *,
    trust_pickle: bool = False,
    force: bool = False,
) -> list[str]:
    """Convert Human3.6M's files to one plain ``.npz`` that :func:`pct.files.motion.pairs.load_h36m` reads.

    Args:
        out: File to write.
        poses: ``data_3d_h36m.npz``: world metres, 32 (or 17) joints.
        detections: Files ``data_2d_h36m_NAME.npz``: pixels of the four cameras; NAME is what they are called later.
        cameras: Of all subjects in ``poses``.
        trust_pickle: The user's word that these files may be unpickled, which lets them run any code.
        force: Whether an existing file is replaced.

    Returns:
        What was written, and which recordings have no 2D poses, in sentences.

    Raises:
        ValueError: If the user's word is missing, or a file is broken or of another layout.
        FileExistsError: If ``out`` exists and ``force`` is not set.
    """
    check_output(out, (".npz",), force)
    bodies = _read_poses(poses, trust_pickle)
    unknown = sorted({subject for subject, _ in bodies} - set(cameras.subjects))
    if unknown:
        raise ValueError(f"{poses}: no cameras for {', '.join(unknown)}; there are {', '.join(cameras.subjects)}")
    lengths = [len(clip) for clip in bodies.values()]
    arrays: dict[str, Any] = {
        "format": np.array([FORMAT]),
        "positions": (sum(lengths), iter(bodies.values())),
        "clip_start": np.cumsum([0, *lengths]),
        "clip_subject": np.array([subject for subject, _ in bodies]),
        "clip_action": np.array([action for _, action in bodies]),
        "camera_names": np.array(CAMERA_NAMES),
        "camera_subject": np.array(cameras.subjects),
    }
    arrays |= {f"camera_{name}": getattr(cameras, name) for name in CAMERA_SHAPES}
    names, left_out = [], []
    for path in detections:
        name, skeleton, views = _read_detections(path, bodies, trust_pickle)
        if name in names:
            raise ValueError(f"{path}: there is another file of detections {name}")
        names.append(name)
        left_out += [f"left out, since 2D poses are missing: {' '.join(clip)}" for clip in bodies if clip not in views]
        missing = np.float32(np.full((1, 4, skeleton.num_keypoints, 2), np.nan))
        pieces = [views[c] if c in views else missing.repeat(len(frames), axis=0) for c, frames in bodies.items()]
        arrays |= {f"keypoints2d_{name}": (sum(lengths), pieces), f"skeleton_{name}": np.array([skeleton.name])}
    write_npz(out, arrays, force)
    what = f"{len(bodies)} recordings of {', '.join(dict.fromkeys(subject for subject, _ in bodies))}"
    seen = f"{sum(lengths)} frames by 4 cameras; 2D poses: {', '.join(names) or 'none'}"
    return [f"{out}: {what}, {seen}", *left_out]


def _read_poses(path: str | Path, trust_pickle: bool) -> Recordings:
    """Return world millimetres (T, 17, 3) by subject and action."""
    bodies: Recordings = {}
    for clip, joints in _recordings(path, _unpickle(path, "positions_3d", trust_pickle)).items():
        where = f"{path}: {' '.join(clip)}"
        if not isinstance(joints, np.ndarray) or joints.ndim != 3 or joints.shape[1:] not in ((32, 3), (17, 3)):
            raise ValueError(f"{where} has shape {np.shape(joints)}; expected (T, 32, 3), or (T, 17, 3) of h36m17")
        joints = (joints[:, KEPT_JOINTS] if joints.shape[1] == 32 else joints).astype(np.float32)
        visible = torch.ones(joints.shape[:2], dtype=torch.bool)
        check_unit(torch.from_numpy(joints), visible, H36M17, where, "metres")
        bodies[clip] = joints * np.float32(1000)
    return bodies


def _read_detections(path: str | Path, bodies: Recordings, trust_pickle: bool) -> tuple[str, Skeleton, Recordings]:
    """Return name, skeleton, and pixels (T, 4, J, 2) by subject and action of the recordings in ``bodies``."""
    match = re.fullmatch(r"data_2d_h36m_(\w+)\.npz", Path(path).name)
    if match is None:
        raise ValueError(f"{path}: a file of detections is named data_2d_h36m_NAME.npz")
    metadata = _unpickle(path, "metadata", trust_pickle)
    layout = (str(metadata.get("layout_name")), metadata.get("num_joints"))
    if layout not in _LAYOUTS:
        known = ", ".join(f"{name} with {k} joints" for name, k in _LAYOUTS)
        raise ValueError(f"{path}: its joints are {layout[0]} with {layout[1]} joints; known are {known}")
    found = _recordings(path, _unpickle(path, "positions_2d", trust_pickle))
    views: Recordings = {}
    for clip, frames in bodies.items():
        if clip in found:
            views[clip] = _stack_views(found[clip], len(frames), _LAYOUTS[layout], f"{path}: {' '.join(clip)}")
        elif (clip[0], action_of(clip[1])) != MAY_LACK:
            raise ValueError(f"{path}: no 2D poses of {' '.join(clip)}, which has 3D poses")
    return match[1], _LAYOUTS[layout], views


def _stack_views(views: Any, length: int, skeleton: Skeleton, where: str) -> np.ndarray:
    """Return pixels (T, 4, J, 2) of four cameras; videos may go on after the mocap has ended."""
    if not isinstance(views, (list, tuple, np.ndarray)) or len(views) != 4:
        raise ValueError(f"{where} must have 2D poses of 4 cameras ({', '.join(CAMERA_NAMES)}); got {len(views)}")
    for camera, shape in zip(CAMERA_NAMES, map(np.shape, views), strict=True):
        wanted = f"at least {length} frames of 3D poses, ({length}, {skeleton.num_keypoints}, 2) of {skeleton.name}"
        if len(shape) != 3 or shape[0] < length or shape[1] != skeleton.num_keypoints or shape[2] < 2:
            raise ValueError(f"{where}, camera {camera}: 2D poses have shape {shape}; expected {wanted}")
    stacked = np.stack([np.asarray(view, np.float32)[:length, :, :2] for view in views], axis=1)
    if not np.isfinite(stacked).all():
        raise ValueError(f"{where}: frame {int(np.argwhere(~np.isfinite(stacked))[0, 0])} is not finite")
    return stacked


def _recordings(path: str | Path, content: Mapping[Any, Any]) -> Recordings:
    """Flatten {subject: {action: value}}; the actions get their usual names."""
    if not all(isinstance(actions, Mapping) for actions in content.values()):
        raise ValueError(f"{path}: expected a dictionary of subjects with a dictionary of actions each")
    found: Recordings = {}
    for subject, actions in content.items():
        for action, value in actions.items():
            clip = (str(subject), normalise_action(str(action)))
            if found.setdefault(clip, value) is not value:
                raise ValueError(f"{path}: {' '.join(clip)} is there twice")
    return found


def _unpickle(path: str | Path, name: str, trust_pickle: bool) -> Mapping[Any, Any]:
    """Return the dictionary that an array of the archive holds."""
    check_file(path, NpzError)
    if not trust_pickle:
        raise ValueError(
            f"{path} holds pickled Python objects, and reading them lets the file run any code on this machine; "
            "where you trust its source, say --trust-pickle (trust_pickle=True)"
        )
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: truncated, or no .npz archive")
    try:
        with np.load(path, allow_pickle=True) as archive:
            if name not in archive.files:
                raise ValueError(f"no array {name}; the file has {', '.join(archive.files) or 'none'}")
            content = archive[name]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError, ImportError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    value = content.item() if content.shape == () else None
    if not isinstance(value, Mapping):
        raise ValueError(f"{path}: {name} holds no dictionary")
    return value
