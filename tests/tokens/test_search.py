"""Search over tokens finds what comparing every row finds, ties included, and does it again."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_codec import TOKENIZER, make_ordered, make_tokenizer, read, write_arrays

from pct.tokens import PoseTokens, SearchResult, TokenFileError, TokenIndex
from pct.tokens.codec import encode_file


def table(indices: np.ndarray) -> PoseTokens:
    n = len(indices)
    ids = np.arange(n)
    return PoseTokens(indices, np.ones((n, 4), np.float32), ids // 2, ids * 10)


def whole_vectors(num_tokens: int, codebook_size: int, seed: int) -> np.ndarray:
    """Few different whole numbers: many poses are equally far, and every sum is exact."""
    return np.random.default_rng(seed).integers(-2, 3, (num_tokens, codebook_size, 2)).astype(np.float32)


def index_of(indices: np.ndarray, vectors: np.ndarray) -> TokenIndex:
    rows = np.arange(len(indices))
    return TokenIndex(np.ascontiguousarray(indices.T.astype(np.uint16)), rows, rows, vectors)


def by_brute_force(indices, vectors, query, k, by, without) -> tuple[list[int], list[float]]:
    found = []
    for row, tokens in enumerate(indices[:, : len(query)]):
        if by == "ids":
            key = -float((tokens == query).sum())
        else:
            places = np.arange(len(query))
            key = float(((vectors[places, tokens] - vectors[places, query]) ** 2).sum())
        if row != without:
            found.append((key, row))
    found = sorted(found)[:k]
    return [row for _, row in found], [-key if by == "ids" else key for key, _ in found]


@settings(max_examples=60)
@given(
    rows=st.integers(1, 60),
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 6)),
    k=st.integers(1, 70),
    by=st.sampled_from(["ids", "vectors"]),
    seed=st.integers(0, 9999),
    prefix=st.integers(0, 4),
    own=st.booleans(),
)
def test_search_is_brute_force_with_ties_in_order_of_rows(rows, sizes, k, by, seed, prefix, own) -> None:
    num_tokens, codebook_size = sizes
    rng = np.random.default_rng(seed)
    indices = rng.integers(0, codebook_size, (rows, num_tokens))
    vectors = whole_vectors(num_tokens, codebook_size, seed)
    without = rng.integers(0, rows, 3) if own else np.full(3, -1)
    queries = indices[without] if own else rng.integers(0, codebook_size, (3, num_tokens))
    queries = queries[:, : max(1, num_tokens - prefix)]
    found = index_of(indices, vectors).search(queries, k, by, leave_out=without if own else None)
    for number, query in enumerate(queries):
        expected = by_brute_force(indices, vectors, query, k, by, without[number])
        assert (found.rows[number].tolist(), found.scores[number].tolist()) == expected


@pytest.mark.parametrize("model", [TOKENIZER, make_ordered()], ids=["shared entries", "residual"])
def test_scores_are_squared_distances_of_the_models_vectors(model) -> None:
    indices = np.random.default_rng(1).integers(0, 32, (200, model.config.num_tokens))
    found = TokenIndex.of_table(table(indices), model).search(indices[:20], 5)
    vectors = model.embeddings().double().numpy()[np.arange(indices.shape[1]), indices]
    steps = vectors[found.rows] - vectors[:20, None]
    np.testing.assert_allclose(found.scores, (steps**2).sum(axis=(2, 3)), atol=1e-9)
    assert (found.scores[:, 0] == 0).all()


def test_a_file_is_searched_like_its_rows(tmp_path) -> None:
    encode_file(TOKENIZER, write_arrays(tmp_path / "in.npz"), tmp_path / "t.parquet")
    tokens = read(tmp_path / "t.parquet")
    of_file, of_rows = (TokenIndex.of_table(t, TOKENIZER) for t in (tmp_path / "t.parquet", tokens))
    assert (len(of_file), of_file.num_tokens) == (6, 4)
    np.testing.assert_array_equal(of_file.annotation_ids, tokens.annotation_ids)
    np.testing.assert_array_equal(of_file.image_ids, tokens.image_ids)
    np.testing.assert_array_equal(of_file.tokens([3, 1]), tokens.indices[[3, 1]])
    a, b = (index.search(tokens.indices, 3) for index in (of_file, of_rows))
    assert isinstance(a, SearchResult)
    np.testing.assert_array_equal(a.rows, b.rows)
    with pytest.raises(TokenFileError, match="tokens of another model"):
        TokenIndex.of_table(tmp_path / "t.parquet", make_tokenizer(seed=1))


def test_long_poses_and_large_codebooks_do_not_overflow() -> None:
    indices = np.random.default_rng(2).integers(0, 70_000, (30, 300))
    model = SimpleNamespace(embeddings=lambda: torch.zeros(1, 1, 1).expand(300, 70_000, 1))
    index = TokenIndex.of_table(table(indices), model)
    found = index.search(indices[:2], 30, "ids")
    assert found.rows[:, 0].tolist() == [0, 1]
    assert found.scores[0].tolist() == sorted((indices == indices[0]).sum(axis=1).tolist(), reverse=True)
    np.testing.assert_array_equal(index.tokens([29]), indices[29:])


def test_what_cannot_be_searched_is_named() -> None:
    index = TokenIndex.of_table(table(np.zeros((5, 4), np.int64)), TOKENIZER)
    good = np.zeros((2, 4), np.int64)
    for arguments, sentence in (
        ((good[0],), r"must be integers \(N, m\) with m from 1 to 4; got int64 of shape \(4,\)"),
        ((good.astype(float),), "got float64"),
        ((np.zeros((1, 5), np.int64),), r"got int64 of shape \(1, 5\)"),
        ((np.zeros((1, 0), np.int64),), r"got int64 of shape \(1, 0\)"),
        ((good + 32,), "token 0 of row 0 is 32; ids of this codebook go from 0 to 31"),
        ((good - 1,), "token 0 of row 0 is -1"),
        ((good, 0), "search for 0 poses; it must be at least 1"),
        ((good, 3, "look"), "search is by 'look'; it must be ids or vectors"),
        ((good, 3, "ids", [0]), r"leave_out must be a row from -1 to 4 for each query; got \[0\]"),
        ((good, 3, "ids", [0, 5]), "leave_out must be a row from -1 to 4"),
    ):
        with pytest.raises(ValueError, match=sentence):
            index.search(*arguments)
    for indices, sentence in (
        (np.zeros((0, 4), np.int64), "N at least 1"),
        (np.zeros((3, 5), np.int64), "m from 1 to 4"),
        (np.full((3, 4), 32), "token 0 of row 0 is 32"),
    ):
        with pytest.raises(ValueError, match=sentence):
            TokenIndex.of_table(table(indices), TOKENIZER)
