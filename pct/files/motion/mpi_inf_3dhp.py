"""MPI-INF-3DHP's test set: pairs of 2D and 3D poses of its six sequences, in Human3.6M's joints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pct.files.motion.checks import check_finite, check_unit, warn_of_odd_axes
from pct.lifting.pairs import PosePairs
from pct.skeleton import H36M16, H36M17, Skeleton

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
    if skeleton.keypoint_names not in (H36M17.keypoint_names, H36M16.keypoint_names):
        raise ValueError(f"MPI-INF-3DHP is read in joints of h36m17 or h36m16, not of skeleton {skeleton.name}")
    unknown = [name for name in sequences if name not in SEQUENCES]
    if unknown or not sequences:
        raise ValueError(f"no sequence {', '.join(unknown) or 'named'}; there are {', '.join(SEQUENCES)}")
    return PosePairs.concatenate([_load_sequence(Path(folder), name, skeleton) for name in sequences])


def _load_sequence(folder: Path, name: str, skeleton: Skeleton) -> PosePairs:
    path = folder / name / "annot_data.mat"
    arrays = _read(path, ("valid_frame", "annot2", "annot3"))
    valid = arrays["valid_frame"].reshape(-1) == 1
    n = int(valid.sum())
    if n == 0:
        raise ValueError(f"{path}: no frame is valid (valid_frame is 1 nowhere)")
    joints = [TO_H36M17[H36M17.keypoint_names.index(joint)] for joint in skeleton.keypoint_names]
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


def _read(path: Path, names: Sequence[str]) -> Mapping[str, Any]:
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
