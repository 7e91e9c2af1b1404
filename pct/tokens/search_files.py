"""Search as people ask for it: a token table, which pose is meant, and what is found as lines, JSON or a picture."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pct.drawing.gallery import draw_tokens
from pct.files.pose_files import POSE_SUFFIXES, PoseCounts, PoseFileError, check_pose_file
from pct.poses import Poses
from pct.tokenizer import PoseTokenizer
from pct.tokens.codec import check_table, check_unguided, encode_poses, read_pose_batches
from pct.tokens.metadata import TokenFileError
from pct.tokens.search import By, TokenIndex
from pct.tokens.table import PoseTokens, TokenReader, is_token_file

MOST_DRAWN = 63
# Poses that are read at once until one is good.
_FEW = 64


@dataclass(frozen=True)
class FoundPoses:
    """What a search found, nearest first.

    Attributes:
        query: The pose that was searched for: its ``row`` of the table, None if it is none, its ``image_id`` and
            ``annotation_id``.
        by: ``ids`` or ``vectors``.
        found: The poses found: ``row``, ``image_id``, ``annotation_id``, and as ``score`` equal tokens, or the squared
            distance.
        indices: The tokens (1 + k, q) that were compared, the query's first.
        notes: What should be said about the choice of the query.
    """

    query: dict[str, Any]
    by: By
    found: list[dict[str, Any]]
    indices: np.ndarray
    notes: tuple[str, ...]

    @property
    def num_tokens(self) -> int:
        """How many tokens of each pose were compared."""
        return self.indices.shape[1]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"query": self.query, "by": self.by, "tokens_compared": self.num_tokens, "found": self.found}

    def as_lines(self) -> str:
        """Write one pose a line under a line of headings."""
        table = [["row", "image", "annotation", f"equal of {self.num_tokens}" if self.by == "ids" else "distance"]]
        # Equal tokens are few whole numbers, so both kinds of score fit into four digits.
        table += [[f"{x:.4g}" if name == "score" else str(x) for name, x in row.items()] for row in self.found]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return "\n".join("  ".join(f"{x:>{w}}" for x, w in zip(line, widths, strict=True)) for line in table)


def search_table(
    tokenizer: PoseTokenizer, table: str | Path, like: int | str | Path, count: int = 10, by: By = "vectors"
) -> FoundPoses:
    """Find the poses of a token table that are most like one pose, which itself is left out.

    Args:
        tokenizer: The model that made the table.
        table: Token table, whole or of prefixes.
        like: An annotation id of the table, or a file: poses of the model's skeleton, or a token table of the same
            model. Of several poses the first is taken, and a note says so. Where one side is of prefixes, as many
            tokens are compared as both have.
        count: How many poses.
        by: See :class:`pct.tokens.search.TokenIndex`.

    Raises:
        TokenFileError: If a table is broken, of another model, or does not have the annotation.
        PoseFileError: If the file of the pose is missing or broken, of another skeleton, or has no good pose.
        ValueError: If ``like`` is neither an id nor a file.
    """
    index = TokenIndex.of_table(table, tokenizer)
    row: int | None
    if re.fullmatch(r"\s*[+-]?\d+\s*", str(like)):
        row, notes = _find_annotation(index, table, int(str(like)))
        tokens, image_id, annotation_id = index.tokens([row]), index.image_ids[row], index.annotation_ids[row]
    elif Path(str(like)).suffix or Path(str(like)).exists():
        pose, notes = _read_query(tokenizer, check_pose_file(str(like)))
        row = _find_row(index, pose)
        tokens, image_id, annotation_id = pose.indices[:1], pose.image_ids[0], pose.annotation_ids[0]
    else:
        raise ValueError(
            f"{str(like)!r} is neither an annotation id, which is an integer, nor a file ({', '.join(POSE_SUFFIXES)})"
        )
    compared = tokens[:, : index.num_tokens]
    result = index.search(compared, count, by, [-1 if row is None else row])
    rows = result.rows[0]
    columns = (rows, index.image_ids[rows], index.annotation_ids[rows], result.scores[0])
    names = ("row", "image_id", "annotation_id", "score")
    found = [dict(zip(names, values, strict=True)) for values in zip(*(c.tolist() for c in columns), strict=True)]
    query = {"row": row, "image_id": int(image_id), "annotation_id": int(annotation_id)}
    return FoundPoses(
        query, by, found, np.concatenate([compared, index.tokens(rows)[:, : compared.shape[1]]]), tuple(notes)
    )


def draw_found(tokenizer: PoseTokenizer, found: FoundPoses) -> np.ndarray:
    """Draw the pose that was searched for and the first :data:`MOST_DRAWN` found, as the compared tokens decode.

    Returns:
        RGB picture (H, W, 3), uint8.

    Raises:
        ValueError: If the model does not decode as few tokens.
    """
    captions = [f"like annotation {found.query['annotation_id']}" + "\n"]
    for row in found.found[:MOST_DRAWN]:
        score = row["score"]
        near = f"{score} of {found.num_tokens} equal" if found.by == "ids" else f"distance {score:.4g}"
        captions.append(f"annotation {row['annotation_id']}\nrow {row['row']}, {near}")
    return draw_tokens(tokenizer, found.indices[: 1 + MOST_DRAWN], captions)


def _find_annotation(index: TokenIndex, table: str | Path, annotation_id: int) -> tuple[int, list[str]]:
    """Return the first row of an annotation, and what should be said about the choice."""
    rows = np.flatnonzero(index.annotation_ids == annotation_id)
    if len(rows) == 0:
        raise TokenFileError(f"{table}: no row of this table has the annotation id {annotation_id}")
    note = f"{table}: {len(rows):,} rows have the annotation id {annotation_id}; the first, {rows[0]}, is taken"
    return int(rows[0]), [note] if len(rows) > 1 else []


def _read_query(tokenizer: PoseTokenizer, path: Path) -> tuple[PoseTokens, list[str]]:
    """Return the tokens of a file whose first pose is meant, and what should be said about the choice."""
    notes: list[str] = []
    if is_token_file(path):
        with TokenReader(path) as reader:
            check_table(tokenizer, reader)
            tokens, several = next(reader.batches(1)), len(reader) > 1
    else:
        poses, notes = _read_first_poses(tokenizer, path)
        tokens, several = encode_poses(tokenizer, poses), len(poses) > 1
    if several:
        notes.append(f"{path}: more than one pose; the first, annotation {tokens.annotation_ids[0]}, is taken")
    return tokens, notes


def _read_first_poses(tokenizer: PoseTokenizer, path: Path) -> tuple[Poses, list[str]]:
    """Return the first good poses of a file, two at least if it has them, and what looks odd about them."""
    check_unguided(tokenizer)
    pieces, counts = list[Poses](), PoseCounts()
    for batch in read_pose_batches(tokenizer, path, _FEW):
        pieces.append(batch.poses)
        if counts.add(batch).poses > 1:
            break
    if not counts.poses:
        fault = counts.first_fault
        found = f"the first is bad: {fault}" if fault else f"there is none of {tokenizer.skeleton.name}"
        raise PoseFileError(f"{path}: no good pose to search for; {found}")
    return Poses.concatenate(pieces), [f"{path}: {note}" for note in counts.notes]


def _find_row(index: TokenIndex, tokens: PoseTokens) -> int | None:
    """Return the row that is the first of ``tokens`` itself: the same ids and the same tokens."""
    same = (index.annotation_ids == tokens.annotation_ids[0]) & (index.image_ids == tokens.image_ids[0])
    rows, length = np.flatnonzero(same), min(index.num_tokens, tokens.indices.shape[1])
    equal = (index.tokens(rows)[:, :length] == tokens.indices[0, :length]).all(axis=1)
    return int(rows[equal][0]) if equal.any() else None
