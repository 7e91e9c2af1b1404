"""Files of pose tokens as text, one pose a line, to token tables and back."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import numpy as np

from pct.codec import check_same_model, describe_model
from pct.files import open_atomically
from pct.models.tokenizer import PoseTokenizer
from pct.pose_space import PoseSpace
from pct.token_text import parse_text, tokens_to_text
from pct.tokens import PoseTokens, TokenFileError, TokenMetadata, TokenReader, TokenWriter

_BATCH = 4096


def table_to_text(source: str | Path, out: str | Path, force: bool = False) -> int:
    """Write the poses of a token table as lines; return their number.

    Raises:
        ValueError: If the table is broken, or ``out`` cannot be written.
        FileExistsError: If ``out`` exists and ``force`` is not set.
    """
    with TokenReader(source) as reader, open_atomically(out, force) as file:
        if len(reader) == 0:
            raise TokenFileError(f"{source}: no poses; the table has no rows")
        for tokens in reader.batches(_BATCH):
            file.write("".join(f"{line}\n" for line in tokens_to_text(tokens.indices)).encode())
        return len(reader)


def text_to_table(
    tokenizer: PoseTokenizer,
    source: str | Path,
    out: str | Path,
    model_name: str = "",
    like: str | Path | None = None,
    force: bool = False,
) -> int:
    """Write lines of text as a token table; return their number.

    Args:
        tokenizer: The model whose tokens they are.
        source: Text file, UTF-8, one pose a line; blank lines are passed over.
        out: Token table to write.
        model_name: Name of the model that the table carries for people to read.
        like: Token table of the same model and length that boxes, areas and ids come from. Without it every pose gets
            the box whose crop is ``crop_size`` pixels square with a corner at the origin (a 3D pose has its root at
            the origin), and its row number as ids.
        force: Whether an existing ``out`` is replaced.

    Raises:
        TokenFileError: If a line is no pose of this model, there is none, or ``like`` does not fit.
        FileExistsError: If ``out`` exists and ``force`` is not set.
    """
    metadata, done = describe_model(tokenizer, model_name), 0
    places = _standard_places(tokenizer.space) if like is None else _places(tokenizer, like)
    with Path(source).open(encoding="utf-8", errors="replace") as file, TokenWriter(out, metadata, force) as writer:
        lines = ((number, line) for number, line in enumerate(file, start=1) if line.strip())
        for place in places:
            chunk = list(islice(lines, len(place)))
            if like is not None and len(chunk) < len(place):
                raise TokenFileError(f"{like}: more poses than the {done + len(chunk)} lines of {source}")
            if not chunk:
                break
            done += len(chunk)
            writer.write(place.with_indices(_parse(source, chunk, metadata)))
        if next(lines, None) is not None:
            raise TokenFileError(f"{like}: only {done} poses, fewer than the lines of {source}; there must be as many")
        if done == 0:
            raise TokenFileError(f"{source}: no poses; the file has no line of text")
    return done


def _places(tokenizer: PoseTokenizer, like: str | Path) -> Iterator[PoseTokens]:
    with TokenReader(like) as reader:
        check_same_model(tokenizer, reader)
        yield from reader.batches(_BATCH)


def _standard_places(space: PoseSpace) -> Iterator[PoseTokens]:
    """Yield, without end, boxes whose crop is ``crop_size`` pixels square at the origin, or roots there."""
    side = space.crop_size / space.padding
    corner = (space.crop_size - side) / 2
    bbox = np.tile(np.array([corner, corner, side, side], np.float32), (_BATCH, 1))
    none = np.zeros((_BATCH, 0), np.int64)
    for start in count(0, _BATCH):
        ids = np.arange(start, start + _BATCH)
        if space.kind == "root3d":
            yield PoseTokens.of_3d(none, np.zeros((_BATCH, 3), np.float32), ids, ids)
        else:
            yield PoseTokens(none, bbox, ids, ids, np.full(_BATCH, np.nan, np.float32))


def _parse(source: str | Path, lines: list[tuple[int, str]], metadata: TokenMetadata) -> np.ndarray:
    rows = []
    for number, line in lines:
        try:
            row = parse_text(line, metadata.codebook_size)
        except ValueError as error:
            raise TokenFileError(f"{source}: line {number}, {error}") from None
        if len(row) != metadata.num_tokens:
            raise TokenFileError(
                f"{source}: line {number} has {len(row)} tokens; a pose of this model has {metadata.num_tokens}"
            )
        rows.append(row)
    return np.array(rows, dtype=np.int64)
