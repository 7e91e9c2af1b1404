"""Human3.6M in the layout of VideoPose3D (pickled .npz), converted once to a plain .npz without pickles."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pct.files.motion.checks import check_unit
from pct.files.motion.h36m_cameras import CAMERA_NAMES, CAMERA_SHAPES, H36MCameras
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

Recordings = dict[tuple[str, str], Any]


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
    """Convert Human3.6M's files to one plain ``.npz`` that :func:`pct.files.motion.h36m.load_h36m` reads.

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
    check_file(Path(path), NpzError)
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
