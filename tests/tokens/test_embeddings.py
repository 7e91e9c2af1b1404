"""Vectors for the words of language models: those of the codebook, zeros for start and end."""

from __future__ import annotations

import pytest
import torch
from tiny_codec import TOKENIZER, make_ordered

from pct.tokens import vocabulary, word_embeddings

ORDERED = make_ordered()
COARSE_FINE = make_ordered(layout="coarse_fine", coarse_width=8)


@pytest.mark.parametrize("model", [TOKENIZER, COARSE_FINE, ORDERED], ids=["parallel", "coarse_fine", "residual"])
def test_words_have_the_vectors_of_their_tokens(model) -> None:
    num_tokens = model.config.num_tokens
    vectors = word_embeddings(model, vocabulary(32, num_tokens))
    assert vectors.shape == (num_tokens * 32 + 2, model.embeddings().shape[2])
    assert vectors.dtype == torch.float32
    assert (vectors[:2] == 0).all()
    torch.testing.assert_close(vectors[2:], model.embeddings().flatten(0, 1), rtol=0, atol=0)
    if model is not ORDERED:  # a word without position has the vector of its id at any of them
        torch.testing.assert_close(word_embeddings(model, vocabulary(32)), vectors[:34], rtol=0, atol=0)
        torch.testing.assert_close(vectors[2:34], vectors[-32:], rtol=0, atol=0)


def test_a_pose_of_words_has_the_vectors_of_its_tokens() -> None:
    indices = torch.tensor([[3, 31, 0, 7, 7, 2], [1, 1, 1, 1, 1, 1]])
    words = [f"<p{m}_{i}>" for row in indices.tolist() for m, i in enumerate(row)]
    vectors = word_embeddings(ORDERED, words).view(2, 6, -1)
    torch.testing.assert_close(vectors, ORDERED.embed(indices), rtol=0, atol=0)
    torch.testing.assert_close(vectors[:, :2], ORDERED.embed(indices[:, :2]), rtol=0, atol=0)


def test_the_vectors_are_copies() -> None:
    before = ORDERED.embeddings()
    word_embeddings(ORDERED, ["<p0_1>"]).add_(1)
    ORDERED.embeddings().add_(1)
    torch.testing.assert_close(ORDERED.embeddings(), before, rtol=0, atol=0)
    assert word_embeddings(ORDERED, []).shape == (0, before.shape[2])


@pytest.mark.parametrize(
    ("model", "word", "sentence"),
    [
        (TOKENIZER, "walks", "'walks' is no word of pose tokens"),
        (TOKENIZER, "<p32>", "word 1, '<p32>', .* ids go from 0 to 31, its positions from 0 to 3"),
        (TOKENIZER, "<p4_0>", "word 1, '<p4_0>', is none of this model"),
        (ORDERED, "<p7>", r"no vector of its own: .* take the words of vocabulary\(32, 6\), such as <p0_7>"),
    ],
)
def test_words_without_a_vector_are_named(model, word, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        word_embeddings(model, ["<pose>", word])
