"""Poses in npz and Parquet files: arrays or columns with a row a pose, and motion capture in clips."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pct.files.motion.mocap import JOINT_NAMES, UPRIGHT
from pct.files.npz import NpzReader
from pct.files.parquet import ColumnReader
from pct.files.pose_checks import Fault, PoseFileError, PoseQuery, RawPoses, explain_mismatch
from pct.skeleton import H36M17, Skeleton

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
    skeleton, batch_size, root = query.skeleton, query.batch_size, query.root
    with NpzReader(path) as file:
        mocap = _is_mocap(file)
        if mocap and root is None:
            raise PoseFileError(f"{path}: this is motion capture, 3D poses; encode it with a 3D model")
        pieces = _read_mocap(file, skeleton, batch_size) if mocap else _read_arrays(file, skeleton, root, batch_size)
        start = 0
        for values in pieces:
            rows = np.arange(start, start := start + len(values["keypoints"]))
            yield RawPoses(skeleton=skeleton, rows=rows, root=root or 0, **values)


def _read_arrays(file: NpzReader, skeleton: Skeleton, root: int | None, batch_size: int) -> Iterator[dict[str, Any]]:
    path, k, dims = file.path, skeleton.num_keypoints, 2 if root is None else 3
    names = [name for name in _ARRAYS if root is None or name not in _FLAT]
    _refuse_misspelt(path, "array", file.names, [*_ARRAYS, "keypoint_names"] if root is not None else names)
    if "keypoint_names" in file.names:
        found_names = file.texts("keypoint_names")
        if found_names != skeleton.keypoint_names:
            raise PoseFileError(explain_mismatch(path, "array 'keypoint_names'", found_names, skeleton))
    found = file.shape("keypoints")
    if len(found) != 3 or found[1:] != (k, dims):
        what = "x, y in image pixels" if dims == 2 else "millimetres"
        flat = "; these are 2D poses, and the model's are 3D" if dims == 3 and found[2:] == (2,) else ""
        raise PoseFileError(
            f"{path}: keypoints have shape {found}{flat}; skeleton {skeleton.name} needs (N, {k}, {dims}): {what}, and "
            "whether a joint is known in an array `visible` (N, K)"
        )
    n = found[0]
    if n == 0:
        raise PoseFileError(f"{path}: no poses; keypoints have shape {found}")
    shapes = dict(zip(_ARRAYS, [(n, k, dims), (n, k), (n, 4), (n,), (n,), (n,)], strict=True))
    given = [name for name in names if name in file.names]
    for name in given:
        if file.shape(name) != shapes[name]:
            raise PoseFileError(f"{path}: {name} has shape {file.shape(name)}; it must have {shapes[name]}")
    for arrays in zip(*(file.rows(name, batch_size) for name in given), strict=True):
        yield {name: _numbers(path, name, a) for name, a in zip(given, arrays, strict=True)}


def _is_mocap(arrays: NpzReader) -> bool:
    """Whether an npz file has the layout of :func:`pct.files.motion.mocap.load_mocap`: ``joints`` in clips."""
    return "keypoints" not in arrays.names and {"joints", "clip_start"} <= set(arrays.names)


def _read_mocap(file: NpzReader, skeleton: Skeleton, batch_size: int) -> Iterator[dict[str, Any]]:
    path, names = file.path, file.texts("joint_names")
    if names != JOINT_NAMES or skeleton.keypoint_names != H36M17.keypoint_names:
        raise PoseFileError(explain_mismatch(path, "array 'joint_names'", names, skeleton))
    found = file.shape("joints")
    if len(found) != 3 or found[1:] != (17, 3) or not found[0]:
        raise PoseFileError(f"{path}: joints have shape {found}; expected (N, 17, 3) in millimetres")
    starts, start = _numbers(path, "clip_start", file.array("clip_start")), 0
    if starts.ndim != 1 or not len(starts) or starts[0] != 0:
        raise PoseFileError(f"{path}: clip_start has shape {starts.shape}; expected the first row of each clip, from 0")
    for joints in file.rows("joints", batch_size):
        rows = np.arange(start, start := start + len(joints))
        clips = np.searchsorted(starts, rows, side="right") - 1
        yield {"keypoints": _numbers(path, "joints", joints) * UPRIGHT, "image_ids": clips}


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
            n = len(columns["keypoints"].counts)
            faults: dict[int, Fault] = {}
            for name, column in columns.items():
                width = int(np.prod(shapes.get(name, ())))
                kind = "wrong number of joints" if name in ("keypoints", "visible") else "missing value"
                for i in np.flatnonzero(column.counts != width).tolist():
                    if name != "area" or column.counts[i] != 0:
                        sentence = f"{name} has {column.counts[i]} numbers; it must have {width}"
                        faults.setdefault(i, Fault(f"row {start + i}", kind, sentence))
            good = np.array([i not in faults for i in range(n)], dtype=bool)
            values: dict[str, Any] = {}
            for name, array in zip(_COLUMNS, _ARRAYS, strict=True):
                if name in columns:
                    counts = columns[name].counts
                    numbers = _numbers(path, name, columns[name].values[np.repeat(good, counts)])
                    values[array] = numbers.reshape(-1, *shapes.get(name, ()))
                    if name == "area":
                        values[array] = np.full(int(good.sum()), np.nan)
                        values[array][counts[good] == 1] = numbers
            rows = start + np.flatnonzero(good)
            bad = [faults[i] for i in sorted(faults)]
            yield RawPoses(skeleton=query.skeleton, rows=rows, faults=bad, **values)
            start += n


def _numbers(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    """Return an array of a file as int64 if it holds ids by its name, else as float64; refuse what is no number."""
    kinds = "iu" if name.endswith(("_id", "_ids")) else "biuf"
    if array.dtype.kind not in kinds:
        raise PoseFileError(
            f"{path}: {name} holds {array.dtype}; it must hold {'integers' if kinds == 'iu' else 'numbers'}"
        )
    if array.dtype == np.uint64 and kinds == "iu" and (array > 2**63 - 1).any():
        raise PoseFileError(f"{path}: {name} holds {array.max()}; it must hold integers of 64 bits with a sign")
    return array.astype(np.int64 if kinds == "iu" else np.float64)


def _refuse_misspelt(path: Path, what: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a name that looks like one that is read: a box under a wrong name would silently not be used."""
    absent = [n for n in known if n not in names]
    for name in names:
        near = difflib.get_close_matches(name, absent) if name not in known else []
        if near:
            raise PoseFileError(f"{path}: unknown {what} {name!r}; did you mean {near[0]!r}?")
