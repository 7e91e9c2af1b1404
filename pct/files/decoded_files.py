"""Files of decoded poses: COCO keypoint JSON and npz, written as a stream beside their token table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pct.files.coco import AREA_SHARE, write_coco_json
from pct.files.npz import write_npz
from pct.tokens.table import PoseTokens, TokenReader

# Rows of a token table with their joints (B, K, 2) in image pixels, or (B, K, 3) in millimetres.
Pieces = Iterable[tuple[PoseTokens, np.ndarray]]


def write_decoded_json(path: Path, reader: TokenReader, pieces: Pieces, force: bool = False) -> None:
    """Write decoded poses as a COCO keypoint file.

    Every joint has visibility 2, coordinates are rounded to 0.01 pixel. Where the table knows no area, 0.52 of the
    box area is written and ``area_estimated`` is true.

    Args:
        path: JSON file.
        reader: The token table, for its skeleton.
        pieces: Its rows with their joints.
        force: Whether an existing file is replaced.
    """
    seen = np.zeros(0, np.int64)

    def annotations() -> Iterator[dict[str, Any]]:
        nonlocal seen
        for tokens, keypoints in pieces:
            seen = np.union1d(seen, tokens.image_ids)
            yield from _annotations(tokens, keypoints)

    # Images are written after the annotations, when all of them have been seen.
    write_coco_json(path, reader.metadata.skeleton, _Later(lambda: seen), annotations(), force=force)


def write_decoded_npz(
    path: Path, reader: TokenReader, pieces: Pieces, force: bool = False, batch_size: int = 4096
) -> None:
    """Write decoded poses as an npz file with the arrays that :func:`pct.files.pose_files.read_poses` reads.

    3D poses have no boxes and areas; :func:`pct.files.motion.bodies.read_bodies` reads them.

    Args:
        path: npz file.
        reader: The token table. One array after the other lies in the archive, so it is read once for each.
        pieces: Its rows with their joints.
        force: Whether an existing file is replaced.
        batch_size: Rows of the other arrays at a time.
    """
    skeleton, n = reader.metadata.skeleton, len(reader)
    real, integer, names = np.dtype(np.float32), np.dtype(np.int64), np.array(skeleton.keypoint_names)
    dims = 3 if reader.metadata.is_3d else 2
    arrays: dict[str, tuple[tuple[int, ...], np.dtype[Any], Iterable[np.ndarray]]] = {
        "keypoints": ((n, skeleton.num_keypoints, dims), real, (keypoints for _, keypoints in pieces)),
        "image_ids": ((n,), integer, (t.image_ids for t in reader.batches(batch_size))),
        "annotation_ids": ((n,), integer, (t.annotation_ids for t in reader.batches(batch_size))),
        "keypoint_names": (names.shape, names.dtype, [names]),
    }
    if not reader.metadata.is_3d:
        arrays["bbox"] = ((n, 4), real, (t.bbox for t in reader.batches(batch_size)))
        arrays["area"] = ((n,), real, (t.area for t in reader.batches(batch_size)))
    write_npz(path, arrays, force)


class _Later:
    """COCO image entries of ids that are known only when the entries are asked for."""

    def __init__(self, ids: Callable[[], np.ndarray]) -> None:
        self._ids = ids

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return ({"id": int(i)} for i in self._ids())


def _annotations(tokens: PoseTokens, keypoints: np.ndarray) -> Iterator[dict[str, Any]]:
    # The shortest decimals that give the same float32: 53.1 stays 53.1.
    boxes = tokens.bbox.astype(str).astype(np.float64).tolist()
    areas = tokens.area.astype(str).astype(np.float64)
    known = np.isfinite(areas).tolist()
    estimates = np.round(AREA_SHARE * tokens.bbox[:, 2].astype(np.float64) * tokens.bbox[:, 3], 2)
    areas = np.where(known, areas, np.maximum(estimates, 0.01)).tolist()
    joints = np.round(keypoints.astype(np.float64), 2)
    flat = np.concatenate([joints, joints[..., :1]], axis=-1).reshape(len(joints), -1).tolist()
    ids = zip(tokens.image_ids.tolist(), tokens.annotation_ids.tolist(), strict=True)
    for row, (image_id, annotation_id) in enumerate(ids):
        flat[row][2::3] = [2] * joints.shape[1]
        annotation = {
            "id": annotation_id,
            "image_id": image_id,
            "bbox": boxes[row],
            "area": areas[row],
            "keypoints": flat[row],
        }
        yield annotation if known[row] else {**annotation, "area_estimated": True}
