"""Poses in npz and Parquet files: arrays or columns with a row a pose, and motion capture in clips."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pct.files.motion.mocap import load_mocap
from pct.files.npz import NpzReader
from pct.files.parquet import ColumnReader
from pct.files.pose_checks import Fault, PoseFileError, PoseQuery, RawPoses, explain_mismatch
from pct.skeleton import H36M17

# Name in an npz file and in RawPoses, name in a Parquet file; the joints are needed, the rest may be left out.
_ARRAYS = ("keypoints", "visible", "bbox", "area", "image_ids", "annotation_ids")
_COLUMNS = ("keypoints", "visible", "bbox", "area", "image_id", "annotation_id")
# Arrays that 3D poses do not have; in their files they are no mistakes either.
_FLAT = ("bbox", "area")


def count_rows(path: Path) -> int:
    """Return the number of poses of an npz or Parquet file."""
    if path.suffix.lower() == ".parquet":
        with ColumnReader(path) as table:
            return len(table)
    with NpzReader(path) as arrays:
        return (arrays.shape("joints" if _is_mocap(arrays) else "keypoints") or (0,))[0]


def read_joint_names(path: Path) -> tuple[str, ...]:
    """Return the names of the joints of an npz file; none where it names none."""
    with NpzReader(path) as file:
        return file.texts("keypoint_names") if "keypoint_names" in file.names else ()


def read_npz(path: Path, query: PoseQuery) -> Iterator[RawPoses]:
    """Yield the poses of an npz file, 3D ones if there is a ``root``; see :func:`pct.files.pose_files.read_poses`."""
    with NpzReader(path) as file:
        if _is_mocap(file) and query.root is None:
            raise PoseFileError(f"{path}: this is motion capture, 3D poses; it needs a 3D model (space.kind: root3d)")
        start = 0
        for values in _read_mocap(file, query) if _is_mocap(file) else _read_arrays(file, query):
            rows = np.arange(start, start := start + len(values["keypoints"]))
            yield RawPoses(skeleton=query.skeleton, rows=rows, root=query.root or 0, **values)


def _read_arrays(file: NpzReader, query: PoseQuery) -> Iterator[dict[str, Any]]:
    path, skeleton, k, dims = file.path, query.skeleton, query.skeleton.num_keypoints, 2 if query.root is None else 3
    names = [name for name in _ARRAYS if dims == 2 or name not in _FLAT]
    _refuse_misspelt(path, "array", file.names, [*_ARRAYS, "keypoint_names"] if dims == 3 else names)
    if "keypoint_names" in file.names and file.texts("keypoint_names") != skeleton.keypoint_names:
        found_names = file.texts("keypoint_names")
        raise PoseFileError(explain_mismatch(path, "array 'keypoint_names'", found_names, skeleton))
    found = file.shape("keypoints")
    if len(found) != 3 or found[1:] != (k, dims):
        flat = "; these are 2D poses, and the model's are 3D" if dims == 3 and found[2:] == (2,) else ""
        what = f"{'x, y in image pixels' if dims == 2 else 'millimetres'}, and whether a joint is known in an array"
        needs = f"skeleton {skeleton.name} needs (N, {k}, {dims}): {what} `visible` (N, K)"
        raise PoseFileError(f"{path}: keypoints have shape {found}{flat}; {needs}")
    if found[0] == 0:
        raise PoseFileError(f"{path}: no poses; keypoints have shape {found}")
    given = [name for name in names if name in file.names]
    for name, sides in zip(_ARRAYS, [(k, dims), (k,), (4,), (), (), ()], strict=True):
        if name in given and file.shape(name) != (found[0], *sides):
            raise PoseFileError(f"{path}: {name} has shape {file.shape(name)}; it must have {(found[0], *sides)}")
    for arrays in zip(*(file.rows(name, query.batch_size) for name in given), strict=True):
        yield {name: _numbers(path, name, array) for name, array in zip(given, arrays, strict=True)}


def _is_mocap(arrays: NpzReader) -> bool:
    """Whether an npz file has the layout of :func:`pct.files.motion.mocap.load_mocap`: ``joints`` in clips."""
    return "keypoints" not in arrays.names and {"joints", "clip_start"} <= set(arrays.names)


def _read_mocap(file: NpzReader, query: PoseQuery) -> Iterator[dict[str, Any]]:
    if query.skeleton.keypoint_names != H36M17.keypoint_names:
        raise PoseFileError(explain_mismatch(file.path, "motion capture", H36M17.keypoint_names, query.skeleton))
    poses = load_mocap(file.path)
    keypoints, clips = poses.keypoints.double().numpy(), poses.clip_index.numpy()
    for start in range(0, len(poses), query.batch_size):
        rows = slice(start, start + query.batch_size)
        yield {"keypoints": keypoints[rows], "image_ids": clips[rows]}


def read_parquet(path: Path, query: PoseQuery) -> Iterator[RawPoses]:
    """Yield the poses of a Parquet file; see :func:`pct.files.pose_files.read_poses`."""
    k = query.skeleton.num_keypoints
    shapes: dict[str, tuple[int, ...]] = {"keypoints": (k, 2), "visible": (k,), "bbox": (4,)}
    with ColumnReader(path) as file:
        if b"pct" in file.metadata:
            raise PoseFileError(f"{path}: this is a token table, not poses; `pct decode` makes poses of it")
        _refuse_misspelt(path, "column", file.columns, _COLUMNS)
        if len(file) == 0:
            raise PoseFileError(f"{path}: no poses; the table has no rows")
        names = [n for n in _COLUMNS if n == "keypoints" or n in file.columns]
        start = 0
        for columns in file.batches(names, query.batch_size):
            faults: dict[int, Fault] = {}
            for name, column in columns.items():
                width = int(np.prod(shapes.get(name, ())))
                kind = "wrong number of joints" if name in ("keypoints", "visible") else "missing value"
                bad = (column.counts != width) & ((name != "area") | (column.counts != 0))
                for row in np.flatnonzero(bad).tolist():
                    sentence = f"{name} has {column.counts[row]} numbers; it must have {width}"
                    faults.setdefault(row, Fault(f"row {start + row}", kind, sentence))
            good = np.array([row not in faults for row in range(len(columns["keypoints"].counts))], bool)
            values: dict[str, Any] = {}
            for name, array in zip(_COLUMNS, _ARRAYS, strict=True):
                if name in columns:
                    counts = columns[name].counts
                    numbers = _numbers(path, name, columns[name].values[np.repeat(good, counts)])
                    if name == "area":
                        numbers, known = np.full(int(good.sum()), np.nan), numbers
                        numbers[counts[good] == 1] = known
                    values[array] = numbers.reshape(-1, *shapes.get(name, ()))
            rows, bad_ones = start + np.flatnonzero(good), [faults[row] for row in sorted(faults)]
            yield RawPoses(skeleton=query.skeleton, rows=rows, faults=bad_ones, **values)
            start += len(good)


def _numbers(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    """Return an array of a file as int64 if it holds ids by its name, else as float64; refuse what is no number."""
    is_id = name.endswith(("_id", "_ids"))
    if array.dtype.kind not in ("iu" if is_id else "biuf"):
        raise PoseFileError(f"{path}: {name} holds {array.dtype}; it must hold {'integers' if is_id else 'numbers'}")
    if is_id and array.dtype == np.uint64 and (array > 2**63 - 1).any():
        raise PoseFileError(f"{path}: {name} holds {array.max()}; it must hold integers of 64 bits with a sign")
    return array.astype(np.int64 if is_id else np.float64)


def _refuse_misspelt(path: Path, what: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a name that looks like one that is read: a box under a wrong name would silently not be used."""
    absent = [n for n in known if n not in names]
    for name in names:
        near = difflib.get_close_matches(name, absent) if name not in known else []
        if near:
            raise PoseFileError(f"{path}: unknown {what} {name!r}; did you mean {near[0]!r}?")
