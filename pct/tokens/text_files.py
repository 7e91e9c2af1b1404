"""Files of pose tokens as text, one pose a line, to token tables and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, count, islice
from pathlib import Path

import numpy as np

from pct.files.output import open_atomically
from pct.pose_space import PoseSpace
from pct.tokenizer import PoseTokenizer
from pct.tokens.codec import check_table, describe_model
from pct.tokens.metadata import TokenFileError, TokenMetadata
from pct.tokens.table import PoseTokens, TokenReader, TokenWriter
from pct.tokens.text import parse_text, tokens_to_text

_BATCH = 4096


def table_to_text(
    source: str | Path, out: str | Path, force: bool = False, num_tokens: int | None = None, positions: bool = False
) -> int:
    """Write the poses of a token table as lines; return their number.

    Args:
        source: Token table.
        out: Text file to write.
        force: Whether an existing ``out`` is replaced.
        num_tokens: How many first tokens of each pose are written, for models whose tokens are ordered; by default all
            that the table holds.
        positions: Whether the words say their positions, too; see :func:`pct.tokens.text.tokens_to_text`.

    Raises:
        ValueError: If the table is broken or does not allow so few tokens, or ``out`` cannot be written.
        FileExistsError: If ``out`` exists and ``force`` is not set.
    """
    with TokenReader(source) as reader, open_atomically(out, force) as file:
        if len(reader) == 0:
            raise TokenFileError(f"{source}: no poses; the table has no rows")
        length = _explain(source, reader.metadata, num_tokens).tokens_per_pose
        for tokens in reader.batches(_BATCH):
            lines = tokens_to_text(tokens.first_tokens(length).indices, positions)
            file.write("".join(f"{line}\n" for line in lines).encode())
        return len(reader)


def text_to_table(
    tokenizer: PoseTokenizer,
    source: str | Path,
    out: str | Path,
    model_name: str = "",
    like: str | Path | None = None,
    force: bool = False,
    num_tokens: int | None = None,
) -> int:
    """Write lines of text as a token table; return their number.

    Args:
        tokenizer: The model whose tokens they are.
        source: Text file, UTF-8, one pose a line, all of as many words; blank lines are passed over. Lines of fewer
            words than the model has tokens are prefixes and make a table of prefixes.
        out: Token table to write.
        model_name: Name of the model that the table carries for people to read.
        like: Token table of the same model and length that boxes, areas and ids come from. Without it every pose gets
            the place :func:`pct.PoseSpace.standard_reference` and its row number as ids.
        force: Whether an existing ``out`` is replaced.
        num_tokens: How many first tokens of each line are taken; all by default.

    Raises:
        TokenFileError: If a line is no pose of this model, there is none, or ``like`` does not fit.
        FileExistsError: If ``out`` exists and ``force`` is not set.
    """
    done, model = 0, describe_model(tokenizer, model_name)
    places = _standard_places(tokenizer.space) if like is None else _places(tokenizer, like)
    with Path(source).open(encoding="utf-8", errors="replace") as file:
        rows = _rows(source, file, model)
        first = next(rows, None)
        if first is None:
            raise TokenFileError(f"{source}: no poses; the file has no line of text")
        metadata, rows = _explain(source, model.with_prefix(len(first)), num_tokens), chain([first], rows)
        with TokenWriter(out, metadata, force) as writer:
            for place in places:
                indices = np.array(list(islice(rows, len(place))), np.int64).reshape(-1, len(first))
                done += len(indices)
                if like is not None and len(indices) < len(place):
                    raise TokenFileError(f"{like}: more poses than the {done} lines of {source}")
                if len(indices) == 0:
                    break
                writer.write(place.with_indices(indices).first_tokens(metadata.tokens_per_pose))
            if next(rows, None) is not None:
                raise TokenFileError(
                    f"{like}: only {done} poses, fewer than the lines of {source}; there must be as many"
                )
    return done


def _rows(source: str | Path, file: Iterable[str], model: TokenMetadata) -> Iterator[list[int]]:
    """Yield the tokens of the lines of text, all as many as those of the first, which the model must decode."""
    first, length = 0, 0
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = parse_text(line, model.codebook_size)
        except ValueError as error:
            raise TokenFileError(f"{source}: line {number}, {error}") from None
        if not first:
            first, length = number, len(row)
        if not model.shortest_prefix <= length <= model.num_tokens:
            wrong = f"line {number} has {length} tokens; a pose of this model has {model.lengths}"
            raise TokenFileError(f"{source}: {wrong}")
        if len(row) != length:
            wrong = f"line {number} has {len(row)} tokens and line {first} has {length}; all must have as many"
            raise TokenFileError(f"{source}: {wrong}")
        yield row


def _explain(source: str | Path, metadata: TokenMetadata, num_tokens: int | None) -> TokenMetadata:
    """Return ``metadata`` of the first ``num_tokens`` tokens; errors name the file."""
    try:
        return metadata.with_prefix(num_tokens)
    except ValueError as error:
        raise TokenFileError(f"{source}: {error}") from None


def _places(tokenizer: PoseTokenizer, like: str | Path) -> Iterator[PoseTokens]:
    with TokenReader(like) as reader:
        check_table(tokenizer, reader)
        yield from reader.batches(_BATCH)


def _standard_places(space: PoseSpace) -> Iterator[PoseTokens]:
    """Yield, without end, poses without tokens at the standard place, with their row numbers as ids."""
    reference, none = space.standard_reference().expand(_BATCH, -1).numpy(), np.zeros((_BATCH, 0), np.int64)
    for start in count(0, _BATCH):
        ids = np.arange(start, start + _BATCH)
        yield PoseTokens(none, reference, ids, ids)
