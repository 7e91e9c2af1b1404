"""Files of 2D poses lifted to 3D: poses in millimetres as ``.npz``, their token table, and a picture of some."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pct.drawing.panels import PosePanel, pose_gallery
from pct.drawing.poses2d import PoseLayer, write_png
from pct.files.coco import choose_categories
from pct.files.json_stream import iter_json
from pct.files.motion.checks import find_odd_axes
from pct.files.npz import write_npz
from pct.files.output import check_output
from pct.files.pose_arrays import read_joint_names
from pct.files.pose_checks import Fault, PoseBatch, PoseFileError, explain_mismatch
from pct.files.pose_files import check_pose_file, find_kind, read_poses
from pct.lifting.lifter import Lifter
from pct.lifting.pose2d_bridge import bridge_poses2d, bridge_sources
from pct.poses import Poses
from pct.skeleton import COCO17, MPII16, SKELETONS, Skeleton
from pct.tokenizer import PoseTokenizer
from pct.tokenizer.own import TOKENIZER_FOLDER
from pct.tokens.codec import EncodeSummary, check_table, decode_batches, describe_model
from pct.tokens.table import PoseTokens, TokenReader, TokenWriter, is_token_file

LIFT_SUFFIXES = (".npz",)
_NO_SIZE = "this lifter reads places on the screen, and {}; give width and height in pixels (--image-size 1920x1080)"
_SHOWN = 12


class LiftSummary(EncodeSummary):
    """What :func:`lift_file` did; its ``path`` is that of the 3D poses."""

    verb = "lifted"


def lift_file(
    lifter: Lifter,
    source: str | Path,
    out: str | Path,
    *,
    skeleton: Skeleton | None = None,
    tokenizer: PoseTokenizer | None = None,
    image_size: tuple[float, float] | None = None,
    category: str | int | None = None,
    flip: bool = False,
    tokens_out: str | Path | None = None,
    model_name: str = "",
    picture: str | Path | None = None,
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
        source: Pose file (``.json`` in COCO format, ``.npz``, ``.parquet``) or token table of 2D poses; joints of
            another skeleton than the lifter's are brought to it where it is known how.
        out: File to write; it appears only when it is whole.
        skeleton: Of the file's poses, for files that do not name their joints.
        tokenizer: The model that made the token table.
        image_size: Width and height in pixels of all images; by default what a COCO file's ``images`` say.
        category: Name or id of the only category of a COCO file that is read.
        flip: Average with the result of the mirrored poses.
        tokens_out: Token table (``.parquet``) of the lifted poses to write, for lifters with a token head; the root of
            every pose is at the origin.
        model_name: Name of the lifter that the table carries for people to read.
        picture: Picture (``.png``) of the first poses to write.
        force: Whether existing files are replaced.
        batch_size: Poses at a time.
        report: Called with a sentence for each bad pose; it is skipped.
        progress: Called with the number of poses done after each batch.

    Raises:
        ValueError: If the file is missing or broken, its joints are not known or cannot be brought to the lifter's
            (both skeletons are named), the token table is of another model, not one pose can be lifted, no image size
            is known that the lifter needs, or tokens are asked of a lifter without a token head.
        FileExistsError: If a file exists and ``force`` is not set.
        OutputError: If a file cannot be written.
    """
    if batch_size < 1:
        raise ValueError(f"batch size must be at least 1, got {batch_size}")
    if tokens_out is not None and lifter.tokenizer is None:
        raise ValueError("the lifter gives coordinates; only one with a token head (lifter.head: tokens) has tokens")
    source, path = check_pose_file(source), check_output(out, LIFT_SUFFIXES, force)
    for other, suffix in ((tokens_out, ".parquet"), (picture, ".png")):
        if other is not None:
            check_output(other, (suffix,), force)
    batches = _read(source, lifter.skeleton, skeleton, tokenizer, category, batch_size)
    sizes = _read_sizes(source, image_size) if lifter.normalizer.kind == "screen" else None
    summary, pieces = LiftSummary(path=path), []
    for batch in batches:
        batch, image_sizes = _prepare(batch, lifter.skeleton, sizes)
        if report is not None:
            for fault in batch.faults:
                report(f"{source}: {fault}")
        if len(batch.poses):
            pieces.append(_lift(lifter, batch.poses, image_sizes, flip))
        summary.add(batch)
        if progress is not None:
            progress(summary.entries)
    if not pieces:
        raise ValueError(f"{source}: {summary.explain_nothing()}")
    arrays = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    lifted = torch.from_numpy(arrays["keypoints"])
    summary.notes += find_odd_axes(lifted, torch.ones(lifted.shape[:2], dtype=torch.bool), lifter.skeleton)
    summary.notes += summary.say_odd()
    # The table first: what people look for is there only when all is.
    if tokens_out is not None and lifter.tokenizer is not None:
        metadata = describe_model(lifter.tokenizer, f"{model_name}/{TOKENIZER_FOLDER}" if model_name else "")
        with TokenWriter(tokens_out, metadata, force) as writer:
            roots, columns = np.zeros((len(lifted), 3), np.float32), ("image_ids", "annotation_ids")
            writer.write(PoseTokens(arrays["indices"], roots, *(arrays[name] for name in columns)))
    if picture is not None:
        shown = zip(arrays["keypoints"][:_SHOWN], arrays["annotation_ids"][:_SHOWN].tolist(), strict=True)
        panels = [PosePanel((PoseLayer(pose),), f"annotation {number}") for pose, number in shown]
        write_png(pose_gallery(panels, lifter.skeleton), picture, force)
    write_npz(path, {**arrays, "keypoint_names": np.array(lifter.skeleton.keypoint_names)}, force)
    return summary


def _read(
    path: Path,
    skeleton: Skeleton,
    given: Skeleton | None,
    tokenizer: PoseTokenizer | None,
    category: str | int | None,
    batch_size: int,
) -> Iterator[PoseBatch]:
    """Yield the poses of a file or token table that can be brought to ``skeleton``; see :func:`lift_file`."""
    is_table = is_token_file(path)
    if is_table and tokenizer is None:
        raise ValueError(f"{path} is a token table; give the tokenizer that made it")
    found = tokenizer.skeleton if is_table and tokenizer else _find_skeleton(path, skeleton, given, category)
    if given is not None and given.keypoint_names != found.keypoint_names:
        raise PoseFileError(f"{path}: the file's joints are those of {found.name}, not of {given.name}")
    sources = bridge_sources(skeleton)
    if found.keypoint_names not in {s.keypoint_names for s in sources}:
        raise PoseFileError(
            f"{path}: the poses have the joints of skeleton {found.name}; this lifter has those of "
            f"{skeleton.name} and reads poses of {', '.join(s.name for s in sources)}"
        )
    if not is_table or tokenizer is None:
        yield from read_poses(path, found, batch_size, category=category, need_names=given is None)
        return
    if tokenizer.space.kind != "crop2d":
        raise ValueError(f"{path}: tokens of {tokenizer.space.kind} poses; only 2D poses can be lifted")
    with TokenReader(path) as reader:
        check_table(tokenizer, reader, to_decode=True)
        yield from (PoseBatch(poses, ()) for poses in decode_batches(tokenizer, reader, batch_size))


def _find_skeleton(path: Path, skeleton: Skeleton, given: Skeleton | None, category: str | int | None) -> Skeleton:
    """Return the skeleton of the poses of a file, for a lifter of ``skeleton``.

    Raises:
        PoseFileError: If the file does not name its joints and none are ``given`` (those of COCO results are taken for
            COCO's), or names joints of no known skeleton.
    """
    kind, sources, lists = find_kind(path), bridge_sources(skeleton), list[tuple[str, ...]]()
    if kind == "mpii":
        lists = [MPII16.keypoint_names]
    elif kind == "coco":
        lists = [tuple(c["keypoints"]) for c in choose_categories(path, category)[0] if c.get("keypoints")]
    elif kind == "npz":
        lists = [names for names in (read_joint_names(path),) if names]
    if not lists and given is None:
        if kind != "results" or COCO17 not in sources:
            known = ", ".join(s.name for s in sources)
            raise PoseFileError(f"{path}: the file does not name its joints; say whose they are (--skeleton): {known}")
        warnings.warn(f"{path}: COCO results do not name their joints; taken for coco17 (--skeleton)", stacklevel=4)
        return COCO17
    # What the lifter reads first: a file may have several categories.
    candidates = [s for s in (given, *sources, *SKELETONS.values()) if s is not None]
    found = next((s for s in candidates if s.keypoint_names in lists), None if lists else given)
    if found is None:
        raise PoseFileError(explain_mismatch(path, "the file", lists[0], skeleton))
    return found


def _read_sizes(path: Path, image_size: tuple[float, float] | None) -> Callable[[Tensor], Tensor]:
    """Return what gives width and height (B, 2) of images by their ids: the given ones, or those of a COCO file."""
    sizes: dict[int, tuple[float, float]] = {}
    if image_size is None and find_kind(path) == "coco":
        for image in iter_json(path, "images"):
            if isinstance(image, dict) and type(image.get("id")) is int:
                width, height = image.get("width"), image.get("height")
                if all(isinstance(pixels, (int, float)) and 0 < pixels < 1e6 for pixels in (width, height)):
                    sizes[image["id"]] = (width, height)  # type: ignore[assignment]
    if image_size is None and not sizes:
        raise ValueError(f"{path}: {_NO_SIZE.format('no image size is known')}")
    other = image_size or (math.nan, math.nan)
    return lambda ids: torch.tensor([sizes.get(i, other) for i in ids.tolist()], dtype=torch.float32).reshape(-1, 2)


def _prepare(
    batch: PoseBatch, skeleton: Skeleton, sizes: Callable[[Tensor], Tensor] | None
) -> tuple[PoseBatch, Tensor | None]:
    """Return the poses that can be lifted in the lifter's joints, and their images' sizes where it needs them."""
    poses = batch.poses
    keypoints, visible = bridge_poses2d(poses.keypoints, poses.visible, poses.skeleton, skeleton)
    batch = replace(batch, poses=replace(poses, skeleton=skeleton, keypoints=keypoints, visible=visible))
    # A pose of which only eyes were known has nothing that the lifter could read.
    sentence = f"none of its known joints tells where a joint of {skeleton.name} is"
    batch = _leave_out(batch, ~visible.any(dim=1), "no joint that the lifter reads", sentence)
    if sizes is None:
        return batch, None
    unknown = ~torch.isfinite(sizes(batch.poses.image_ids)).all(dim=1)
    batch = _leave_out(batch, unknown, "image size not known", _NO_SIZE.format("the image's size is not known"))
    return batch, sizes(batch.poses.image_ids)


def _leave_out(batch: PoseBatch, bad: Tensor, kind: str, sentence: str) -> PoseBatch:
    """Return the poses without those of the mask ``bad`` (B,), which become faults."""
    faults = (Fault(f"annotation {i}", kind, sentence) for i in batch.poses.annotation_ids[bad].tolist())
    return replace(batch, poses=batch.poses.select(~bad), faults=(*batch.faults, *faults))


def _lift(lifter: Lifter, poses: Poses, sizes: Tensor | None, flip: bool) -> dict[str, np.ndarray]:
    lifted = lifter.lift(poses.keypoints, poses.visible, sizes, flip)
    tensors = {"keypoints": lifted.keypoints, "observed": poses.visible}
    tensors |= {"image_ids": poses.image_ids, "annotation_ids": poses.annotation_ids}
    if lifted.indices is not None and lifted.probs is not None:
        tensors |= {"indices": lifted.indices.int(), "token_probs": lifted.probs}
    return {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
