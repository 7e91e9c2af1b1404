"""The codec: pose files to token tables and back, as a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from pct.files.coco_writer import write_coco_poses
from pct.files.npz import write_npz
from pct.files.output import OutputError, check_output
from pct.files.pose_checks import PoseBatch, PoseFileError
from pct.files.pose_files import PoseCounts, read_poses
from pct.poses import Poses
from pct.tokenizer import PoseTokenizer
from pct.tokens.metadata import TokenFileError, TokenMetadata
from pct.tokens.table import PoseTokens, TokenReader, TokenWriter

DECODE_SUFFIXES = (".json", ".npz")


@dataclass(kw_only=True)
class EncodeSummary(PoseCounts):
    """What :func:`encode_file` did; ``path`` is the token table."""

    path: Path
    # What was done, of which there is more than one.
    verb: ClassVar[str] = "encoded"

    def __str__(self) -> str:
        text = f"{self.verb} {self.poses:,} poses to {self.path}"
        for counts, said in ((self.skipped, "skipped {:,} bad ones"), (self.left_out, "left out {:,}")):
            if counts:
                kinds = ", ".join(f"{kind}: {count:,}" for kind, count in counts.most_common())
                text += f"; {said.format(counts.total())} ({kinds})"
        return text


def encode_file(
    tokenizer: PoseTokenizer,
    source: str | Path,
    out: str | Path,
    *,
    model_name: str = "",
    strict: bool = False,
    force: bool = False,
    batch_size: int = 4096,
    num_tokens: int | None = None,
    category: str | int | None = None,
    report: Callable[[str], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> EncodeSummary:
    """Turn a file of poses into a token table; memory depends on ``batch_size``, not on the number of poses.

    Args:
        tokenizer: The model.
        source: Pose file that fits the model; see :func:`pct.files.pose_files.read_poses`.
        out: Token table to write (``.parquet``); it appears only when it is whole.
        model_name: Name of the model that the table carries for people to read.
        strict: Whether a bad pose is an error; else it is reported, skipped and counted.
        force: Whether an existing ``out`` is replaced.
        batch_size: Poses at a time.
        num_tokens: How many first tokens of each pose the table gets, for models whose tokens are ordered; else all.
        category: Name or id of the only category of a COCO file that is encoded; by default all with the joints.
        report: Called with a sentence for each bad pose.
        progress: Called with the number of poses read after each batch.

    Raises:
        PoseFileError: If the file does not fit the model, a pose is bad and ``strict`` is set, or no pose is good.
        ValueError: If the file is broken, the model needs more than joints, or does not decode ``num_tokens``.
        FileExistsError: If ``out`` exists and ``force`` is not set.
    """
    out = check_output(out, (".parquet",), force)
    _check_sane(source, out, batch_size)
    check_unguided(tokenizer)
    batches = read_pose_batches(tokenizer, source, batch_size, category)
    summary = EncodeSummary(path=out)
    metadata = describe_model(tokenizer, model_name).with_prefix(num_tokens)
    with TokenWriter(out, metadata, force) as writer:
        for batch in batches:
            for fault in batch.faults:
                if strict:
                    raise PoseFileError(f"{source}: {fault} (--strict stops at the first bad pose)")
                if report is not None:
                    report(f"{source}: {fault}")
            writer.write(encode_poses(tokenizer, batch.poses).first_tokens(metadata.tokens_per_pose))
            summary.add(batch)
            if progress is not None:
                progress(summary.entries)
        if summary.poses == 0:
            raise PoseFileError(f"{source}: {summary.explain_nothing()}")
    summary.notes += summary.say_odd()
    return summary


def check_unguided(tokenizer: PoseTokenizer) -> None:
    """Check that joints are all that ``tokenizer`` needs to encode a pose.

    Raises:
        ValueError: If not.
    """
    if tokenizer.config.guidance_channels:
        raise ValueError("the model needs image features beside the joints, which a pose file does not have")


def read_pose_batches(
    tokenizer: PoseTokenizer, source: str | Path, batch_size: int = 4096, category: str | int | None = None
) -> Iterator[PoseBatch]:
    """Yield the poses of a file that fits a model, 2D or 3D, at most ``batch_size`` at a time."""
    root = tokenizer.space.root if tokenizer.space.kind == "root3d" else None
    return read_poses(source, tokenizer.skeleton, batch_size, category=category, root=root)


def encode_poses(tokenizer: PoseTokenizer, poses: Poses) -> PoseTokens:
    """Turn a table of good poses into tokens with their ids, and their boxes or the positions of their roots."""
    reference = poses.reference(tokenizer.space.root)
    indices = tokenizer.encode(poses.keypoints, poses.visible, reference).cpu()
    columns = (indices, reference, poses.image_ids, poses.annotation_ids, poses.area)
    return PoseTokens(*(column.numpy() for column in columns))


def describe_model(tokenizer: PoseTokenizer, name: str = "") -> TokenMetadata:
    """Return what a token table says about ``tokenizer``."""
    return TokenMetadata(
        model=name,
        fingerprint=tokenizer.fingerprint(),
        skeleton=tokenizer.skeleton,
        space=tokenizer.space.to_dict(),
        codebook_size=tokenizer.config.codebook_size,
        num_tokens=tokenizer.config.num_tokens,
        shortest_prefix=tokenizer.shortest_prefix,
    )


def decode_file(
    tokenizer: PoseTokenizer,
    source: str | Path,
    out: str | Path,
    *,
    force: bool = False,
    batch_size: int = 4096,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Turn a token table into poses in image pixels, or 3D poses in millimetres; return their number.

    A ``.json`` becomes a COCO keypoint file: ids and boxes as in the table, every joint with visibility 2 (the decoder
    fills in all), coordinates to 0.01 pixel. Where the table knows no area, 0.52 of the box area is written and
    ``area_estimated`` is true. A ``.npz`` has the arrays that :func:`encode_file` reads.
    3D poses stand where they stood, at their roots; they are written as ``.npz`` only.

    Of a table that holds the first tokens of each pose only, the poses are coarser. Memory depends on ``batch_size``; a
    ``.json`` needs 8 bytes more for each image.

    Args:
        tokenizer: The model that made the table.
        source: Token table.
        out: COCO JSON or npz to write; it appears only when it is whole.
        force: Whether an existing ``out`` is replaced.
        batch_size: Poses at a time.
        progress: Called with the number of poses decoded after each batch.

    Raises:
        TokenFileError: If the table is of another model, empty, of another version, holds fewer tokens a pose than the
            model decodes, or ids outside the codebook.
        OutputError: If 3D poses are to become a JSON file.
        ValueError: If the file is missing, truncated, or no Parquet file.
        FileExistsError: If ``out`` exists and ``force`` is not set.
    """
    source, out = Path(source), check_output(out, DECODE_SUFFIXES, force)
    _check_sane(source, out, batch_size)
    if tokenizer.space.kind == "root3d" and out.suffix.lower() == ".json":
        raise OutputError(f"output {out}: COCO files hold 2D poses and the model's are 3D; write them to a .npz")
    with TokenReader(source) as reader:
        check_table(tokenizer, reader, to_decode=True)
        pieces = decode_batches(tokenizer, reader, batch_size, progress)
        if out.suffix.lower() == ".json":
            write_coco_poses(out, pieces, decimals=2, force=force)
        else:
            write_npz(out, _arrays(reader, pieces, batch_size), force)
        return len(reader)


def _arrays(reader: TokenReader, poses: Iterator[Poses], batch_size: int) -> dict[str, Any]:
    """Return what :func:`write_npz` writes of a table; it writes one array after the other, so each is read anew."""
    names = ("image_ids", "annotation_ids", *(() if reader.metadata.is_3d else ("bbox", "area")))
    columns = {name: (len(reader), map(attrgetter(name), reader.batches(batch_size))) for name in names}
    joints = (len(reader), (piece.keypoints.numpy() for piece in poses))
    return {"keypoints": joints, **columns, "keypoint_names": np.array(reader.metadata.skeleton.keypoint_names)}


def check_table(tokenizer: PoseTokenizer, reader: TokenReader, to_decode: bool = False) -> None:
    """Check that a token table has poses, that ``tokenizer`` made it, and if asked for that it has enough to decode.

    Raises:
        TokenFileError: If not.
    """
    theirs, ours = reader.metadata, tokenizer.fingerprint()
    if theirs.fingerprint != ours:
        # Version 0.1 had other kinds of models, and other fingerprints for those that this version still loads.
        old = theirs.format_version == 1
        cure = "read it with pct 0.1, or encode the poses anew" if old else "use the model that made it"
        raise TokenFileError(
            f"{reader.path}: tokens of another model: the table was made by {theirs.model or 'a model'}"
            f"{' of pct 0.1' if old else ''} with fingerprint {theirs.fingerprint}, this model has {ours}; {cure}"
        )
    if len(reader) == 0:
        raise TokenFileError(f"{reader.path}: no poses; the table has no rows")
    held, shortest = theirs.tokens_per_pose, tokenizer.shortest_prefix
    if to_decode and held < shortest:
        ordered = shortest < tokenizer.config.num_tokens
        raise TokenFileError(
            f"{reader.path}: holds the first {held} of {theirs.num_tokens} tokens of each pose; to decode them this "
            f"model needs {f'at least {shortest}' if ordered else f'all {shortest}, since its tokens are not ordered'}"
        )


def decode_batches(
    tokenizer: PoseTokenizer, reader: TokenReader, batch_size: int, progress: Callable[[int], None] | None = None
) -> Iterator[Poses]:
    """Yield the poses that the rows of a table decode to, with all joints known; boxes of 3D poses are NaN."""
    done = 0
    for tokens in reader.batches(batch_size):
        keypoints = tokenizer.decode(torch.from_numpy(tokens.indices), torch.from_numpy(tokens.reference)).cpu()
        known = torch.ones(keypoints.shape[:2], dtype=torch.bool)
        bbox, area, *ids = map(torch.from_numpy, (tokens.bbox, tokens.area, tokens.image_ids, tokens.annotation_ids))
        yield Poses(tokenizer.skeleton, keypoints, known, bbox, area, ids[0], ids[1])
        done += len(tokens)
        if progress is not None:
            progress(done)


def _check_sane(source: str | Path, out: Path, batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch size must be at least 1, got {batch_size}")
    if out.exists() and Path(source).exists() and out.samefile(source):
        raise OutputError(f"output {out} is the input itself")
