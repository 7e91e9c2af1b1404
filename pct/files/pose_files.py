"""Pose files of any kind (COCO JSON, npz, Parquet) as a stream of checked batches."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from pct.files.coco_categories import explain_mismatch
from pct.files.npz import NpzReader
from pct.files.parquet import Column, ColumnReader
from pct.files.pose_checks import Fault, PoseBatch, PoseFileError, RawPoses, check_poses, note_repeated_ids
from pct.files.pose_json import read_pose_json
from pct.skeleton import Skeleton

POSE_SUFFIXES = (".json", ".npz", ".parquet")
# Name in an npz file, name in a Parquet file; the joints are needed, the rest may be left out.
_ARRAYS = ("keypoints", "visible", "bbox", "area", "image_ids", "annotation_ids")
_COLUMNS = ("keypoints", "visible", "bbox", "area", "image_id", "annotation_id")


def check_pose_file(path: str | Path) -> Path:
    """Check that a file is there, is not empty, and has the suffix of a pose file.

    Raises:
        PoseFileError: If not.
    """
    path = Path(path)
    suffix = pose_suffix(path)
    if path.is_dir():
        raise PoseFileError(f"{path}: this is a folder; give a file ({', '.join(POSE_SUFFIXES)})")
    if suffix not in POSE_SUFFIXES:
        pickled = "; pickled files are refused" if suffix in (".pkl", ".pickle", ".pt", ".pth") else ""
        raise PoseFileError(f"{path}: suffix is {suffix!r}; poses are read from {', '.join(POSE_SUFFIXES)}{pickled}")
    if not path.is_file():
        raise PoseFileError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise PoseFileError(f"{path}: the file is empty")
    return path


def pose_suffix(path: str | Path) -> str:
    """Return the suffix of a pose file in small letters, ``.json`` for ``.json.gz`` too."""
    path = Path(path)
    return Path(path.stem if path.suffix.lower() == ".gz" else path.name).suffix.lower()


def count_poses(path: str | Path) -> int | None:
    """Return the number of poses of an npz or Parquet file; None for JSON, which only reading to its end tells."""
    path = check_pose_file(path)
    if path.suffix.lower() == ".parquet":
        with ColumnReader(path) as table:
            return len(table)
    if path.suffix.lower() == ".npz":
        with NpzReader(path) as arrays:
            return (arrays.shape("joints" if is_mocap(arrays) else "keypoints") or (0,))[0]
    return None


def is_mocap(arrays: NpzReader) -> bool:
    """Whether an npz file has the layout of :class:`pct.files.motion.mocap.MocapClips`: ``joints`` in clips."""
    return "keypoints" not in arrays.names and {"joints", "clip_start"} <= set(arrays.names)


def read_poses(
    path: str | Path,
    skeleton: Skeleton,
    batch_size: int = 4096,
    *,
    category: str | int | None = None,
    need_names: bool = True,
) -> Iterator[PoseBatch]:
    """Yield the poses of a file in order, at most ``batch_size`` at a time, whatever the length of the file.

    - ``.json``, ``.json.gz``: COCO keypoint annotations, of all ``categories`` with the joints of ``skeleton``; COCO
      results, a list of ``keypoints`` in its order; the MPII JSON layout.
    - ``.npz``: arrays ``keypoints`` (N, K, 2), and if given ``visible`` (N, K), ``bbox`` (N, 4), ``area`` (N,),
      ``image_ids`` (N,), ``annotation_ids`` (N,), ``keypoint_names`` (K,).
    - ``.parquet``: columns ``keypoints`` (2 K numbers or K pairs a row), and if given ``visible``, ``bbox``, ``area``,
      ``image_id``, ``annotation_id``.

    Without boxes they are made from the known joints; without ids the row number is taken; without ``visible`` joints
    that are NaN or at exactly (0, 0) are unknown. An area of 0 is an unknown one. Poses with the id of an earlier one
    are read and counted.

    Args:
        path: The file.
        skeleton: Whose joints it must have.
        batch_size: Poses at a time.
        category: Name or id of the only category of a COCO file that is read.
        need_names: Whether a COCO file that names no joints is refused.

    Raises:
        PoseFileError: If the file cannot be used as a whole, for example since its joints are not the skeleton's.
        ValueError: If the file is missing, malformed, truncated or pickled.
    """
    path, suffix = check_pose_file(path), pose_suffix(path)
    if suffix == ".json":
        return note_repeated_ids(read_pose_json(path, skeleton, batch_size, category, need_names))
    if category is not None:
        raise PoseFileError(f"{path}: {suffix} files have no categories; leave {category!r} out")
    reader = _read_npz if suffix == ".npz" else _read_parquet
    return note_repeated_ids(reader(path, skeleton, batch_size))


def _read_npz(path: Path, skeleton: Skeleton, batch_size: int) -> Iterator[PoseBatch]:
    with NpzReader(path) as file:
        if is_mocap(file):
            raise PoseFileError(f"{path}: this is motion capture, 3D poses; encode it with a 3D model")
        for start, values in read_arrays(file, skeleton, 2, _ARRAYS, batch_size):
            yield check_poses(_raw_from_rows(values, start, skeleton.num_keypoints), skeleton)


def read_arrays(
    file: NpzReader, skeleton: Skeleton, dims: int, names: Sequence[str], batch_size: int, unused: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Yield the arrays of an npz file of poses in pieces: the first row of each, and its arrays by name.

    Args:
        file: The archive.
        skeleton: Whose joints it must have.
        dims: 2 or 3 coordinates a joint.
        names: Arrays that are read if they are there, of ``_ARRAYS``; ``keypoints`` is needed.
        batch_size: Rows at a time.
        unused: Names of other arrays that are no mistakes.

    Raises:
        PoseFileError: If an array has another shape or type, or a name that looks misspelt.
    """
    path, k = file.path, skeleton.num_keypoints
    refuse_misspelt(path, "array", file.names, (*names, *unused))
    if "keypoint_names" in file.names:
        found_names = read_names(file, "keypoint_names")
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
    pieces = [file.rows(name, batch_size) for name in given]
    for start, arrays in zip(range(0, n, batch_size), zip(*pieces, strict=True), strict=True):
        yield start, {name: number_array(path, name, a) for name, a in zip(given, arrays, strict=True)}


def read_names(file: NpzReader, name: str) -> tuple[str, ...]:
    """Return the texts of an array; names of joints."""
    try:
        return tuple(str(text) for part in file.rows(name, 4096) for text in part)
    except (UnicodeError, SystemError) as error:
        raise PoseFileError(f"{file.path}: array {name!r} holds no text: {error}") from None


def number_array(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    """Return an array of a file as int64 if it holds ids by its name, else as float64; refuse what is no number."""
    kinds = "iu" if name.endswith(("_id", "_ids")) else "biuf"
    if array.dtype.kind not in kinds:
        raise PoseFileError(
            f"{path}: {name} holds {array.dtype}; it must hold {'integers' if kinds == 'iu' else 'numbers'}"
        )
    if array.dtype == np.uint64 and kinds == "iu" and (array > 2**63 - 1).any():
        raise PoseFileError(f"{path}: {name} holds {array.max()}; it must hold integers of 64 bits with a sign")
    return array.astype(np.int64 if kinds == "iu" else np.float64)


def _raw_from_rows(values: dict[str, np.ndarray], start: int, num_keypoints: int) -> RawPoses:
    """Fill in what an npz or Parquet file leaves out."""
    n = len(values["keypoints"])
    rows = values.get("row", np.arange(start, start + n))
    ids = {**dict(zip(_ARRAYS[4:], (rows, rows), strict=True)), **values}
    return RawPoses(
        where=[f"row {row}" for row in rows.tolist()],
        keypoints=values["keypoints"].reshape(n, num_keypoints, 2),
        visibility=values.get("visible"),
        bbox=values.get("bbox"),
        area=values.get("area", np.full(n, np.nan)),
        image_ids=ids["image_ids"],
        annotation_ids=ids["annotation_ids"],
    )


def _read_parquet(path: Path, skeleton: Skeleton, batch_size: int) -> Iterator[PoseBatch]:
    k = skeleton.num_keypoints
    with ColumnReader(path) as file:
        if b"pct" in file.metadata:
            raise PoseFileError(f"{path}: this is a token table, not poses; `pct decode` makes poses of it")
        refuse_misspelt(path, "column", file.columns, _COLUMNS)
        if len(file) == 0:
            raise PoseFileError(f"{path}: no poses; the table has no rows")
        names = [n for n in _COLUMNS if n == "keypoints" or n in file.columns]
        start = 0
        for columns in file.batches(names, batch_size):
            n = len(columns["keypoints"].counts)
            faults = _find_odd_counts(columns, start, k)
            good = np.array([i not in faults for i in range(n)], dtype=bool)
            values = {_ARRAYS[_COLUMNS.index(c)]: _take(path, c, columns[c], good) for c in names}
            values["row"] = start + np.flatnonzero(good)
            widths = {"visible": k, "bbox": 4}
            values = {c: v.reshape(-1, widths[c]) if c in widths else v for c, v in values.items()}
            values["keypoints"] = values["keypoints"].reshape(-1, k, 2)
            yield check_poses(_raw_from_rows(values, start, k), skeleton, [faults[i] for i in sorted(faults)])
            start += n


def _find_odd_counts(columns: dict[str, Column], start: int, num_keypoints: int) -> dict[int, Fault]:
    expected = {"keypoints": 2 * num_keypoints, "visible": num_keypoints, "bbox": 4}
    found: dict[int, Fault] = {}
    for name, column in columns.items():
        width = expected.get(name, 1)
        kind = "wrong number of joints" if name in ("keypoints", "visible") else "missing value"
        for i in np.flatnonzero(column.counts != width).tolist():
            if name == "area" and column.counts[i] == 0:
                continue
            sentence = f"{name} has {column.counts[i]} numbers; it must have {width}"
            found.setdefault(i, Fault(f"row {start + i}", kind, sentence))
    return found


def _take(path: Path, name: str, column: Column, rows: np.ndarray) -> np.ndarray:
    """Return the numbers of ``rows`` (a mask), NaN where an area is missing."""
    values = number_array(path, name, column.values[np.repeat(rows, column.counts)])
    if name != "area":
        return values
    area = np.full(int(rows.sum()), np.nan)
    area[column.counts[rows] == 1] = values
    return area


def refuse_misspelt(path: Path, what: str, names: Iterable[str], known: Sequence[str]) -> None:
    """Refuse a name that looks like one that is read: a box under a wrong name would silently not be used."""
    names = list(names)
    absent = [n for n in known if n not in names]
    for name in names:
        near = difflib.get_close_matches(name, absent) if name not in known else []
        if near:
            raise PoseFileError(f"{path}: unknown {what} {name!r}; did you mean {near[0]!r}?")
