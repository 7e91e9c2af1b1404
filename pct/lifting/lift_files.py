"""Files of 2D poses lifted to 3D: poses in millimetres as ``.npz``, their token table, and a picture of some."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pct.drawing.poses2d import PoseLayer, PosePanel, write_png
from pct.drawing.poses3d import pose_gallery_3d
from pct.files.motion.checks import find_odd_axes
from pct.files.npz import write_npz
from pct.files.output import check_output
from pct.files.pose_checks import notes_of
from pct.lifting.lift_inputs import LiftInput, leave_out
from pct.lifting.lifter import Lifter
from pct.poses import Poses
from pct.tokenizer.own import TOKENIZER_FOLDER
from pct.tokens.codec import EncodeSummary, count_batch, describe_model
from pct.tokens.table import PoseTokens, TokenWriter

LIFT_SUFFIXES = (".npz",)
_NO_SIZE = "this lifter reads places on the screen, and {}; give width and height in pixels (--image-size 1920x1080)"


class LiftSummary(EncodeSummary):
    """What :func:`lift_file` did; its ``path`` is that of the 3D poses."""

    verb = "lifted"


def lift_file(
    lifter: Lifter,
    source: LiftInput,
    out: str | Path,
    *,
    flip: bool = False,
    tokens_out: str | Path | None = None,
    model_name: str = "",
    picture: str | Path | None = None,
    picture_count: int = 12,
    force: bool = False,
    batch_size: int = 4096,
    report: Callable[[str], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> LiftSummary:
    """Lift 2D poses and write an ``.npz`` file; all results are held in memory, about a kilobyte a pose.

    Its arrays: ``keypoints`` (N, K, 3) in millimetres relative to the root joint, in the camera's frame (x right,
    y down, z away); ``image_ids`` and ``annotation_ids`` (N,) of the 2D poses, and ``observed`` (N, K), which of
    their joints were known; ``keypoint_names`` (K,); from lifters with a token head ``indices`` (N, M), the likeliest
    tokens, and their ``token_probs`` (N, M). Poses are the expected ones, nearer to the truth than the likeliest
    tokens' own; decoding ``indices`` gives the latter.

    Args:
        lifter: The model, in evaluation mode.
        source: The 2D poses.
        out: File to write; it appears only when it is whole.
        flip: Average with the result of the mirrored poses.
        tokens_out: Token table (``.parquet``) of the lifted poses to write, for lifters with a token head; the root of
            every pose is at the origin.
        model_name: Name of the lifter that the table carries for people to read.
        picture: Picture (``.png``) of the first poses to write.
        picture_count: How many poses it shows.
        force: Whether existing files are replaced.
        batch_size: Poses at a time.
        report: Called with a sentence for each bad pose; it is skipped.
        progress: Called with the number of poses done after each batch.

    Raises:
        ValueError: If not one pose can be lifted, no image size is known that the lifter needs, or tokens are asked of
            a lifter without a token head.
        FileExistsError: If a file exists and ``force`` is not set.
        OutputError: If a file cannot be written.
    """
    if batch_size < 1:
        raise ValueError(f"batch size must be at least 1, got {batch_size}")
    path = check_output(out, LIFT_SUFFIXES, force)
    _check_outputs(lifter, tokens_out, picture, force)
    on_screen = lifter.normalizer.kind == "screen"
    if on_screen and not source.knows_sizes:
        raise ValueError(f"{source.path}: {_NO_SIZE.format('no image size is known')}")
    summary = LiftSummary(path)
    pieces: list[dict[str, np.ndarray]] = []
    for batch in source.batches(batch_size):
        if on_screen:
            unknown = ~torch.isfinite(source.sizes_of(batch.poses.image_ids)).all(dim=1)
            batch = leave_out(batch, unknown, "image size not known", _NO_SIZE.format("the image's size is not known"))
        for fault in batch.faults:
            if report is not None:
                report(str(fault))
        if len(batch.poses):
            sizes = source.sizes_of(batch.poses.image_ids) if on_screen else None
            pieces.append(_lift(lifter, batch.poses, sizes, flip))
        count_batch(summary, batch, progress)
    if not pieces:
        kinds = ", ".join(summary.skipped)
        raise ValueError(f"{source.path}: no pose that can be lifted; {summary.skipped.total():,} are bad ({kinds})")
    arrays = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    lifted = torch.from_numpy(arrays["keypoints"])
    summary.notes += find_odd_axes(lifted, torch.ones(lifted.shape[:2], dtype=torch.bool), lifter.skeleton)
    summary.notes += notes_of(summary.odd)
    arrays["keypoint_names"] = np.array(lifter.skeleton.keypoint_names)
    # The table first: what people look for is there only when all is.
    if tokens_out is not None:
        _write_tokens(lifter, arrays, tokens_out, model_name, force)
    if picture is not None:
        write_png(_draw(lifter, arrays, picture_count), picture, force)
    write_npz(path, {name: (a.shape, a.dtype, [a]) for name, a in arrays.items()}, force)
    return summary


def _check_outputs(lifter: Lifter, tokens_out: str | Path | None, picture: str | Path | None, force: bool) -> None:
    if tokens_out is not None:
        if lifter.tokenizer is None:
            raise ValueError(
                "the lifter gives coordinates; only one with a token head (lifter.head: tokens) has tokens"
            )
        check_output(tokens_out, (".parquet",), force)
    if picture is not None:
        check_output(picture, (".png",), force)


def _lift(lifter: Lifter, poses: Poses, sizes: Tensor | None, flip: bool) -> dict[str, np.ndarray]:
    lifted = lifter.lift(poses.keypoints, poses.visible, sizes, flip)
    tensors: dict[str, Tensor] = {
        "keypoints": lifted.keypoints,
        "observed": poses.visible,
        "image_ids": poses.image_ids,
        "annotation_ids": poses.annotation_ids,
    }
    if lifted.indices is not None and lifted.probs is not None:
        tensors |= {"indices": lifted.indices.int(), "token_probs": lifted.probs}
    return {name: tensor.cpu().numpy() for name, tensor in tensors.items()}


def _write_tokens(
    lifter: Lifter, arrays: Mapping[str, np.ndarray], out: str | Path, model_name: str, force: bool
) -> None:
    assert lifter.tokenizer is not None
    roots = np.zeros((len(arrays["keypoints"]), 3), np.float32)
    table = PoseTokens.of_3d(arrays["indices"], roots, arrays["image_ids"], arrays["annotation_ids"])
    metadata = describe_model(lifter.tokenizer, f"{model_name}/{TOKENIZER_FOLDER}" if model_name else "")
    with TokenWriter(out, metadata, force) as writer:
        writer.write(table)


def _draw(lifter: Lifter, arrays: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    shown = zip(arrays["keypoints"][:count], arrays["annotation_ids"][:count].tolist(), strict=True)
    panels = [PosePanel((PoseLayer(pose),), f"annotation {number}") for pose, number in shown]
    return pose_gallery_3d(panels, lifter.skeleton)
