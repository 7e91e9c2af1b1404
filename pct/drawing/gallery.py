"""One picture of the first poses of a file: as they are, decoded from a token table, or both over each other."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pct.drawing.panels import PosePanel, pose_gallery
from pct.drawing.poses2d import COLOURED, TARGET, PoseLayer
from pct.files.pose_checks import PoseFileError
from pct.files.pose_files import PoseCounts
from pct.pose_space import PoseSpace
from pct.tokenizer import PoseTokenizer
from pct.tokens.codec import check_table, decode_batches, encode_poses, read_pose_batches
from pct.tokens.table import TokenReader, is_token_file


def draw_gallery(
    tokenizer: PoseTokenizer,
    path: str | Path,
    count: int = 24,
    reconstruct: bool = False,
    category: str | int | None = None,
) -> np.ndarray:
    """Draw the first poses of a file, 2D ones each in its crop, 3D ones each from the front and turned.

    Args:
        tokenizer: The model whose skeleton the poses have, or that made the token table.
        path: Pose file or token table.
        count: Number of poses.
        reconstruct: Whether the poses of a pose file are drawn pale under what the model decodes from their tokens.
        category: Name or id of the only category of a COCO file that is drawn.

    Returns:
        RGB picture (H, W, 3), uint8.

    Raises:
        ValueError: If the file cannot be read or does not fit the model, or has no good pose.
    """
    if is_token_file(path):
        return _arrange(tokenizer, _token_panels(tokenizer, path, count))
    return _arrange(tokenizer, _pose_panels(tokenizer, path, count, reconstruct, category))


def draw_tokens(tokenizer: PoseTokenizer, indices: np.ndarray, captions: Sequence[str]) -> np.ndarray:
    """Draw what tokens (N, m) decode to, each pose with its caption; RGB picture (H, W, 3), uint8.

    Raises:
        ValueError: If there are no poses, or ``tokenizer`` cannot decode the tokens.
    """
    reference = tokenizer.space.standard_reference().expand(len(indices), -1)
    points = _to_panel(tokenizer.space, tokenizer.decode(torch.from_numpy(indices), reference).cpu(), reference)
    panels = [PosePanel((PoseLayer(p),), caption) for p, caption in zip(points, captions, strict=True)]
    return _arrange(tokenizer, panels)


def _arrange(tokenizer: PoseTokenizer, panels: list[PosePanel]) -> np.ndarray:
    columns = min(4, math.ceil(math.sqrt(len(panels) / 2))) if tokenizer.space.kind == "root3d" else 4
    return pose_gallery(panels, tokenizer.skeleton, columns, crop_size=tokenizer.space.crop_size)


def _token_panels(tokenizer: PoseTokenizer, path: str | Path, count: int) -> list[PosePanel]:
    with TokenReader(path) as reader:
        check_table(tokenizer, reader, to_decode=True)
        poses = next(decode_batches(tokenizer, reader, count))
    points = _to_panel(tokenizer.space, poses.keypoints, poses.bbox)
    ids = poses.annotation_ids.tolist()
    return [PosePanel((PoseLayer(p),), f"annotation {i}") for p, i in zip(points, ids, strict=True)]


def _pose_panels(
    tokenizer: PoseTokenizer, path: str | Path, count: int, reconstruct: bool, category: str | int | None
) -> list[PosePanel]:
    panels: list[PosePanel] = []
    counts = PoseCounts()
    for batch in read_pose_batches(tokenizer, path, count, category):
        counts.add(batch)
        poses = batch.poses
        points = _to_panel(tokenizer.space, poses.keypoints, poses.bbox)
        layers: list[tuple[PoseLayer, ...]] = [
            (PoseLayer(p, v.numpy(), TARGET if reconstruct else COLOURED, draw_unknown=False),)
            for p, v in zip(points, poses.visible, strict=True)
        ]
        if reconstruct:
            tokens = encode_poses(tokenizer, poses)
            indices, reference = torch.from_numpy(tokens.indices), torch.from_numpy(tokens.reference)
            decoded = _to_panel(tokenizer.space, tokenizer.decode(indices, reference).cpu(), poses.bbox)
            layers = [(*below, PoseLayer(p)) for below, p in zip(layers, decoded, strict=True)]
        ids = poses.annotation_ids.tolist()
        panels += [PosePanel(layer, f"annotation {i}") for layer, i in zip(layers, ids, strict=True)]
        if len(panels) >= count:
            break
    if not panels:
        raise PoseFileError(f"{path}: {counts.explain_nothing()}")
    for sentence in (*counts.notes, *counts.say_odd(left_out=True)):
        warnings.warn(f"{path}: {sentence}", stacklevel=2)
    if counts.first_fault is not None:
        bad = f"{counts.skipped.total():,} bad poses are skipped; the first: {counts.first_fault}"
        warnings.warn(f"{path}: {bad}", stacklevel=2)
    return list(islice(panels, count))


def _to_panel(space: PoseSpace, keypoints: Tensor, bbox: Tensor) -> np.ndarray:
    """Bring joints (B, K, D) from image pixels into pixels of the crop, or relative to their roots."""
    reference = bbox if space.kind == "crop2d" else keypoints[:, space.root]
    return space.report_space.normalise(keypoints, reference).numpy()
