"""Pairs of 2D and 3D poses in Human3.6M's joints: Human3.6M as tools/convert_h36m.py writes it, and MPI-INF-3DHP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pct.cameras import project, world_to_camera
from pct.files.motion.checks import check_finite, check_unit, warn_of_odd_axes, warn_of_swapped_views
from pct.files.motion.h36m_convert import CAMERA_SHAPES, FORMAT, MAY_LACK, action_of
from pct.files.motion.mocap import check_clips
from pct.files.npz import NpzReader
from pct.lifting.pairs import PosePairs
from pct.lifting.pose2d_bridge import bridge_poses2d
from pct.skeleton import H36M16, H36M17, Skeleton, get_skeleton

TRAIN_SUBJECTS = ("S1", "S5", "S6", "S7", "S8")
TEST_SUBJECTS = ("S9", "S11")
ACTIONS = (
    *("Directions", "Discussion", "Eating", "Greeting", "Phoning", "Photo", "Posing", "Purchases", "Sitting"),
    *("SittingDown", "Smoking", "Waiting", "WalkDog", "Walking", "WalkTogether"),
)
PROJECTED = "projected"
_SHAPES: dict[str, tuple[object, ...]] = {
    "positions": ("frames", 17, 3),
    "clip_start": ("starts",),
    "text:clip_subject": ("clips",),
    "text:clip_action": ("clips",),
    "text:camera_names": ("cameras",),
    "text:camera_subject": ("subjects",),
    **{f"camera_{name}": ("subjects", "cameras", *shape) for name, shape in CAMERA_SHAPES.items()},
}
# Setting and size of the pictures of each sequence: green screen, studio without it, outdoors.
SEQUENCES: dict[str, tuple[str, tuple[int, int]]] = {
    "TS1": ("GS", (2048, 2048)),
    "TS2": ("GS", (2048, 2048)),
    "TS3": ("noGS", (2048, 2048)),
    "TS4": ("noGS", (2048, 2048)),
    "TS5": ("Outdoor", (1920, 1080)),
    "TS6": ("Outdoor", (1920, 1080)),
}
# Which of its 17 joints is each of Human3.6M's. Its neck, head and head top lie elsewhere than Human3.6M's thorax,
# neck_nose and head, which is part of the error of a model trained on the one and tested on the other.
TO_H36M17 = (14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4)


def load_h36m(
    path: str | Path,
    subjects: Sequence[str] = TEST_SUBJECTS,
    detections: str = PROJECTED,
    *,
    skeleton: Skeleton = H36M17,
    actions: Sequence[str] | None = None,
    stride: int = 1,
) -> PosePairs:
    """Load pairs of Human3.6M, a clip for each recording and camera (``S9 Walking 1 54138969``).

    World poses are brought into the camera's frame by its extrinsics; the action of a clip is its name without take.

    Args:
        path: File that ``tools/convert_h36m.py`` wrote.
        subjects: Whose recordings: :data:`TRAIN_SUBJECTS` or :data:`TEST_SUBJECTS` for the standard split.
        detections: Which 2D poses: the name of a set in the file (``gt``, ``cpn_ft_h36m_dbb``, ...), or
            ``projected`` for the 3D poses through the cameras with their distortion. Other layouts are bridged, see
            :func:`pct.lifting.pose2d_bridge.bridge_poses2d`.
        skeleton: ``H36M17``, or ``H36M16``, which has no ``neck_nose``.
        actions: Which actions, by their exact names without take; None for all 15, which must then be there for
            every subject (but S11's Directions, whose video is damaged).
        stride: Every how many frames; the standard protocol takes all of them (1).

    Raises:
        ValueError: If the file is broken or another one, or subject, action, detections or cameras are not in it, or
            2D and 3D have other joints than the skeleton.
    """
    joints = _columns(skeleton)
    if stride < 1:
        raise ValueError(f"stride must be at least 1, got {stride}")
    arrays = _read(Path(path), detections)
    where, parts, images = f"{path} ({', '.join(subjects)})", [], []
    for clip in _choose(arrays, subjects, actions, str(path)):
        try:
            part, image = _see(arrays, clip, skeleton, joints, stride)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        parts += [part] if len(part) else []
        images.append(image)
    if not parts:
        raise ValueError(f"{where}: no frame has 2D poses {detections}")
    pairs = PosePairs.concatenate(parts)
    check_unit(pairs.keypoints3d, pairs.visible, skeleton, where)
    warn_of_odd_axes(pairs.keypoints3d, pairs.visible, skeleton, where)
    warn_of_swapped_views(pairs.keypoints2d, torch.cat(images), pairs.visible, skeleton, f"{where}, {detections}")
    return pairs


def _see(
    arrays: Mapping[str, Any], clip: int, skeleton: Skeleton, joints: list[int], stride: int
) -> tuple[PosePairs, Tensor]:
    """Return what the cameras see of a recording, one after the other, and where the 3D joints are (N, K, 2)."""
    rows = slice(arrays["clip_start"][clip], arrays["clip_start"][clip + 1], stride)
    subject, action = str(arrays["clip_subject"][clip]), str(arrays["clip_action"][clip])
    person = arrays["camera_subject"].tolist().index(subject)
    rotation, position, intrinsics, distortion, image_size = (
        torch.from_numpy(np.asarray(arrays[f"camera_{name}"][person], np.float64))[:, None] for name in CAMERA_SHAPES
    )
    bodies = world_to_camera(torch.from_numpy(arrays["positions"][rows][:, joints]).double(), rotation, position)
    image = project(bodies, intrinsics, distortion).float()
    if "found" in arrays:
        found = torch.from_numpy(arrays["found"][rows]).transpose(0, 1)
        if not torch.isfinite(found).all():
            # A recording that the detections lack, which the conversion allows of one alone.
            bodies, image, found = bodies[:, :0], image[:, :0], found[:, :0]
        known, source = torch.ones(found.shape[:3], dtype=torch.bool), get_skeleton(str(arrays["skeleton"][0]))
        keypoints2d, visible = bridge_poses2d(found.flatten(0, 1), known.flatten(0, 1), source, skeleton)
    else:
        keypoints2d, visible = image.flatten(0, 1), torch.ones(image.shape[:3], dtype=torch.bool).flatten(0, 1)
    cameras, frames = bodies.shape[:2]
    pairs = PosePairs(
        skeleton=skeleton,
        keypoints2d=keypoints2d,
        visible=visible,
        keypoints=bodies.flatten(0, 1).float(),
        image_size=image_size.float().expand(cameras, frames, 2).flatten(0, 1),
        intrinsics=intrinsics.float().expand(cameras, frames, 4).flatten(0, 1),
        clip_index=torch.arange(cameras).repeat_interleave(frames),
        clip_ids=tuple(f"{subject} {action} {camera}" for camera in arrays["camera_names"]),
        subject_ids=(subject,) * cameras,
        actions=(action_of(action),) * cameras,
    )
    return pairs, image.flatten(0, 1)


def _choose(arrays: Mapping[str, Any], subjects: Sequence[str], actions: Sequence[str] | None, where: str) -> list[int]:
    """Return the recordings of subjects and actions, in file order."""
    who, what = arrays["clip_subject"].tolist(), [action_of(a) for a in arrays["clip_action"].tolist()]
    for subject in subjects:
        there = {action for person, action in zip(who, what, strict=True) if person == subject}
        if not there:
            raise ValueError(f"{where}: no subject {subject!r}; there are {', '.join(dict.fromkeys(who))}")
        if subject not in arrays["camera_subject"].tolist():
            raise ValueError(f"{where}: no cameras of subject {subject}, which are needed to see its 3D poses")
        missing = [a for a in actions or ACTIONS if a not in there and (subject, a) != MAY_LACK]
        if missing:
            raise ValueError(
                f"{where}: {subject} has no {', '.join(missing)}; there are {', '.join(sorted(there))}. To load some "
                "actions only, name them"
            )
    clips = [c for c, person in enumerate(who) if person in subjects and what[c] in (actions or ACTIONS)]
    if not clips:
        raise ValueError(f"{where}: nothing to load of subjects {', '.join(subjects) or 'none'}")
    return clips


def _read(path: Path, detections: str) -> dict[str, Any]:
    """Return the arrays of a converted file, and the wanted detections as ``found`` with their ``skeleton``."""
    if not path.is_file():
        raise ValueError(f"Human3.6M file {path} does not exist; tools/convert_h36m.py writes it")
    with NpzReader(path) as file:
        if "format" not in file.names or file.array("format").tolist() != [FORMAT]:
            raise ValueError(f"{path}: this is no converted file; run tools/convert_h36m.py on the original ones first")
        sets = [name.removeprefix("keypoints2d_") for name in file.names if name.startswith("keypoints2d_")]
        if detections not in (PROJECTED, *sets):
            raise ValueError(f"{path}: no 2D poses {detections}; there are {', '.join([PROJECTED, *sets])}")
        own = {"found": f"keypoints2d_{detections}", "skeleton": f"text:skeleton_{detections}"}
        shapes: dict[str, tuple[object, ...]] = {
            own["found"]: ("frames", "cameras", "joints", 2),
            own["skeleton"]: (1,),
        }
        arrays = file.arrays(_SHAPES if detections == PROJECTED else {**_SHAPES, **shapes})
    check_clips(path, arrays["clip_start"], len(arrays["clip_subject"]), len(arrays["positions"]))
    return arrays | {n: arrays[key.removeprefix("text:")] for n, key in own.items() if detections != PROJECTED}


def load_mpi_inf_3dhp(
    folder: str | Path,
    sequences: Sequence[str] = tuple(SEQUENCES),
    *,
    skeleton: Skeleton = H36M17,
) -> PosePairs:
    """Load the valid frames of the test set.

    Clips are the sequences, actions their settings (``GS``, ``noGS``, ``Outdoor``), for averages per setting. The
    test set does not say what its cameras are: ``intrinsics`` are NaN. It needs ``h5py``.

    Args:
        folder: ``mpi_inf_3dhp_test_set``, with ``TS1/annot_data.mat`` and so on.
        sequences: Which of them.
        skeleton: ``H36M17``, or ``H36M16``, which has no ``neck_nose``.

    Raises:
        ValueError: If a sequence is unknown, a file missing, broken or of another layout, or the skeleton has other
            joints; or if h5py is not installed.
    """
    joints = [TO_H36M17[column] for column in _columns(skeleton)]
    unknown = [name for name in sequences if name not in SEQUENCES]
    if unknown or not sequences:
        raise ValueError(f"no sequence {', '.join(unknown) or 'named'}; there are {', '.join(SEQUENCES)}")
    return PosePairs.concatenate([_load_sequence(Path(folder), name, skeleton, joints) for name in sequences])


def _load_sequence(folder: Path, name: str, skeleton: Skeleton, joints: list[int]) -> PosePairs:
    path = folder / name / "annot_data.mat"
    arrays = _read_hdf5(path, ("valid_frame", "annot2", "annot3"))
    valid = arrays["valid_frame"].reshape(-1) == 1
    n = int(valid.sum())
    if n == 0:
        raise ValueError(f"{path}: no frame is valid (valid_frame is 1 nowhere)")
    poses, visible = [], torch.ones(n, skeleton.num_keypoints, dtype=torch.bool)
    for key, dims in (("annot2", 2), ("annot3", 3)):
        value = arrays[key]
        if value.shape not in ((len(valid), 1, 17, dims), (len(valid), 17, dims)):
            raise ValueError(
                f"{path}: {key} has shape {value.shape}; expected ({len(valid)}, 1, 17, {dims}), a row for each entry "
                "of valid_frame"
            )
        poses.append(torch.from_numpy(value.reshape(len(valid), 17, dims)[valid][:, joints].astype(np.float32)))
        check_finite(poses[-1], visible, skeleton, f"{path}, {key}")
    check_unit(poses[1], visible, skeleton, f"{path}, annot3")
    warn_of_odd_axes(poses[1], visible, skeleton, path)
    setting, size = SEQUENCES[name]
    return PosePairs(
        skeleton=skeleton,
        keypoints2d=poses[0],
        visible=visible,
        keypoints=poses[1],
        image_size=torch.tensor(size, dtype=torch.float32).expand(n, 2),
        intrinsics=torch.full((n, 4), torch.nan),
        clip_index=torch.zeros(n, dtype=torch.int64),
        clip_ids=(name,),
        subject_ids=(name,),
        actions=(setting,),
    )


def _read_hdf5(path: Path, names: Sequence[str]) -> Mapping[str, Any]:
    """Return arrays of an HDF5 file, as MATLAB 7.3 writes it."""
    try:
        import h5py
    except ImportError:
        raise ValueError("reading MPI-INF-3DHP needs h5py: pip install 'pct[h5]'") from None
    if not path.is_file():
        raise ValueError(f"{path} does not exist; the folder of the test set holds TS1/annot_data.mat and so on")
    try:
        with h5py.File(path, "r") as file:
            missing = [name for name in names if name not in file]
            if missing:
                raise ValueError(f"no array {', '.join(missing)}; the file has {', '.join(file)}")
            return {name: file[name][()] for name in names}
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def _columns(skeleton: Skeleton) -> list[int]:
    """Return which of Human3.6M's 17 joints are a skeleton's."""
    if skeleton.keypoint_names not in (H36M17.keypoint_names, H36M16.keypoint_names):
        raise ValueError(f"pairs are read in joints of h36m17 or h36m16, not of skeleton {skeleton.name}")
    return [H36M17.keypoint_names.index(name) for name in skeleton.keypoint_names]
