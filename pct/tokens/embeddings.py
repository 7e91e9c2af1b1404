"""Vectors of the codebook for the words of the text form: where the embeddings of a language model can start.

After ``tokenizer.add_tokens(words)`` and ``model.resize_token_embeddings(...)`` the new rows are random. A linear map
of these vectors to the model's width, random or learned, starts them where like poses have like rows::

    vectors = word_embeddings(pose_tokenizer, words)  # (len(words), D)
    rows = vectors @ torch.randn(vectors.shape[1], width)

A search index starts from :meth:`pct.PoseTokenizer.embeddings`, all vectors (M, V, D), or from ``embed``, the vectors
(B, M, D) of poses.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pct.tokenizer import PoseTokenizer
from pct.tokens.text import parse_word


def word_embeddings(tokenizer: PoseTokenizer, words: Sequence[str]) -> Tensor:
    """Return the codebook vector of every word.

    Where all tokens of a pose share their entries (layouts ``parallel`` and ``coarse_fine``), a word without position
    has the vector of its id. In layout ``residual`` an id means something else at every position, so words must say
    theirs: ``vocabulary(codebook_size, num_tokens)``.

    Args:
        tokenizer: Whose codebook.
        words: Any words of :func:`pct.tokens.vocabulary`, with or without positions.

    Returns:
        Vectors (len(words), D), float32, on the model's device; zeros for start and end of a pose.

    Raises:
        ValueError: On a word that is none of the model's, or that needs a position.
    """
    tables = tokenizer.embeddings()
    num_tokens, size, dim = tables.shape
    shared = bool((tables == tables[:1]).all())
    vectors = torch.zeros(len(words), dim, device=tables.device)
    places: list[tuple[int, int, int]] = []
    for number, text in enumerate(words):
        word = parse_word(text)
        if word is None:
            continue
        position, index = word
        if index >= size or (position or 0) >= num_tokens:
            raise ValueError(
                f"word {number}, {text!r}, is none of this model: its ids go from 0 to {size - 1}, its positions "
                f"from 0 to {num_tokens - 1}"
            )
        if position is None and not shared:
            raise ValueError(
                f"word {number}, {text!r}, has no vector of its own: in this model an id means something else at every "
                f"position; take the words of vocabulary({size}, {num_tokens}), such as <p0_{index}>"
            )
        places.append((number, position or 0, index))
    if places:
        rows, positions, indices = torch.tensor(places, device=tables.device).T
        vectors[rows] = tables[positions, indices]
    return vectors
