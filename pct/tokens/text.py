"""Pose tokens as text, for language models: ``<pose><p12><p1003>...</pose>``.

Every id is one word of :func:`vocabulary`. To teach a language model poses, add these words and grow its embedding::

    tokenizer.add_tokens(vocabulary(1024))
    model.resize_token_embeddings(len(tokenizer))

and train on lines of :func:`tokens_to_text`. What the model writes goes through :func:`text_to_tokens`, which also
takes blanks between the words: some tokenizers put them there.

Where an id means something else at every position (layout ``residual``), words with positions are easier to learn:
``<p12_1003>`` is id 1003 as token 12 of a pose, counted from 0. Both forms are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

_START, _END = "<pose>", "</pose>"
_WORD = re.compile(r"\s*<p(?:(0|[1-9][0-9]{0,9})_)?(0|[1-9][0-9]{0,9})>")
_OPENING, _CLOSING = re.compile(rf"\s*{_START}"), re.compile(rf"\s*{_END}")


def parse_word(text: str) -> tuple[int | None, int] | None:
    """Return the position, None where it does not say one, and the id of a word; None for start and end of a pose.

    Raises:
        ValueError: If it is no word of :func:`vocabulary`.
    """
    if text in (_START, _END):
        return None
    match = _WORD.fullmatch(text)
    if match is None or text != text.strip():
        raise ValueError(f"{text[:20]!r} is no word of pose tokens, such as {_START}, <p711>, <p12_711> or {_END}")
    return None if match[1] is None else int(match[1]), int(match[2])


def vocabulary(codebook_size: int, num_tokens: int | None = None) -> list[str]:
    """Return all words of the text form: start and end of a pose, then one a codebook entry.

    Args:
        codebook_size: Number of ids V.
        num_tokens: Makes words with positions: one for each of so many tokens and each entry, position by position.

    Returns:
        V + 2 words, or ``num_tokens`` * V + 2.

    Raises:
        ValueError: If the codebook has no entry, or a pose no token.
    """
    for name, number in (("codebook_size", codebook_size), ("num_tokens", num_tokens)):
        if number is not None and number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
    starts = ["<p"] if num_tokens is None else [f"<p{m}_" for m in range(num_tokens)]
    return [_START, _END, *(f"{start}{i}>" for start in starts for i in range(codebook_size))]


def tokens_to_text(indices: np.ndarray, positions: bool = False) -> list[str]:
    """Write tokens (N, M), or the first m of them (N, m), as N texts.

    Args:
        indices: Integers; a text has as many words between start and end as a row has tokens.
        positions: Whether the words say their positions, too.

    Raises:
        ValueError: If the tokens are not non-negative integers of shape (N, M).
    """
    indices = np.asarray(indices)
    if indices.ndim != 2 or indices.dtype.kind not in "iu":
        raise ValueError(f"indices must be integers (N, M); got {indices.dtype} of shape {indices.shape}")
    check_ids(indices)
    starts = [f"<p{m}_" if positions else "<p" for m in range(indices.shape[1])]
    return [_START + "".join(f"{p}{i}>" for p, i in zip(starts, row, strict=True)) + _END for row in indices.tolist()]


def check_ids(indices: np.ndarray, codebook_size: int | None = None, first_row: int = 0) -> None:
    """Check that integers (N, M) are ids of a codebook, of any size when it is not given.

    Raises:
        ValueError: If not; it names the token and its row, counted from ``first_row``.
    """
    most = np.iinfo(indices.dtype).max if codebook_size is None else codebook_size - 1
    # Looked at one by one only where one is wrong: a table may have millions.
    if indices.size and (indices.min() < 0 or indices.max() > most):
        row, column = (int(i) for i in np.argwhere((indices < 0) | (indices > most))[0])
        ids = "ids start at 0" if codebook_size is None else f"ids of this codebook go from 0 to {most}"
        raise ValueError(f"token {column} of row {first_row + row} is {int(indices[row, column])}; {ids}")


def text_to_tokens(texts: Iterable[str], num_tokens: int | None = None, codebook_size: int | None = None) -> np.ndarray:
    """Read the tokens of texts; the inverse of :func:`tokens_to_text`.

    Args:
        texts: One pose each, with nothing but blanks around and between the words, which may say their positions.
        num_tokens: Tokens M a pose; the first text's number when it is not given.
        codebook_size: Number of ids; any id is taken when it is not given.

    Returns:
        Tokens (N, M), int64.

    Raises:
        ValueError: On text that is no pose, another number of tokens, or an id outside the codebook; it names the
            text (from 0) and the character.
    """
    rows = []
    for number, text in enumerate(texts):
        try:
            rows.append(parse_text(text, codebook_size))
        except ValueError as error:
            raise ValueError(f"text {number}, {error}") from None
        num_tokens = len(rows[0]) if num_tokens is None else num_tokens
        if len(rows[-1]) != num_tokens:
            raise ValueError(f"text {number} has {len(rows[-1])} tokens; a pose of this model has {num_tokens}")
    return np.array(rows, dtype=np.int64).reshape(len(rows), num_tokens or 0)


def parse_text(text: str, codebook_size: int | None = None) -> list[int]:
    """Read the tokens of one text.

    Raises:
        ValueError: If the text is no pose, holds an id outside the codebook, or a word with another position than its
            own; it names the character (from 0).
    """
    match = _OPENING.match(text)
    if match is None:
        raise ValueError(f"character 0: expected {_START}, found {text[:20]!r}")
    row: list[int] = []
    position = match.end()
    while (match := _WORD.match(text, position)) is not None:
        index = int(match[2])
        if match[1] is not None and int(match[1]) != len(row):
            raise ValueError(f"character {match.start()}: expected <p{len(row)}_...>, found {match[0].strip()!r}")
        if codebook_size is not None and index >= codebook_size:
            raise ValueError(
                f"character {match.start()}: id {index} is outside the codebook; ids go from 0 to {codebook_size - 1}"
            )
        row.append(index)
        position = match.end()
    match = _CLOSING.match(text, position)
    if match is None:
        found = text[position : position + 20] or "the end of the text"
        raise ValueError(f"character {position}: expected <p...> or {_END}, found {found!r}")
    if text[match.end() :].strip():
        raise ValueError(f"character {match.end()}: text after {_END}: {text[match.end() :][:20]!r}")
    return row
