"""Statistics of the ids, and which joints a token moves: hand calculations."""

from __future__ import annotations

import pytest
import torch

from pct.evaluation.tokens.codebook import codebook_statistics, measure_anatomy, nearest_entries, random_other_entries


def test_codebook_statistics_by_hand() -> None:
    indices = torch.tensor([[0, 3], [1, 3], [0, 3], [1, 3]])
    book = codebook_statistics(indices, 4)
    assert book["counts"] == [2, 2, 0, 4]
    assert [use["entropy_bits"] for use in book["positions"]] == pytest.approx([1.0, 0.0])
    assert book["bits_per_pose"] == pytest.approx(1.0)
    assert book["most_bits_per_pose"] == 4
    assert book["use"]["entropy_bits"] == pytest.approx(1.5)
    assert book["use"]["usage"] == 0.75


def test_anatomy_finds_the_joint_of_a_token() -> None:
    table = torch.tensor([[0.0], [1.0], [5.0]])
    embeddings = torch.stack([table, 10 - table])

    def decode(indices: torch.Tensor) -> torch.Tensor:
        """Token m moves joint m alone, along x."""
        x = embeddings[torch.arange(2), indices, 0]
        return torch.stack([x, torch.zeros_like(x)], dim=-1)

    indices = torch.tensor([[0, 2], [1, 2]])
    assert nearest_entries(embeddings, indices).tolist() == [[1, 1], [0, 1]]
    assert (random_other_entries(indices, 3, seed=0) != indices).all()
    anatomy = measure_anatomy(indices, embeddings, decode)
    assert anatomy["nearest"] == [[1.0, 0.0], [0.0, 4.0]]
    assert anatomy["random"][0][1] == anatomy["random"][1][0] == 0
