"""What tokens are worth: hand calculations and known answers for rate, stability, likeness and locality."""

from __future__ import annotations

import math
from dataclasses import replace
from unittest.mock import Mock

import pytest
import torch
from tiny_bodies import make_tokenizer_3d
from tiny_evaluation import make_person_tokenizer, make_table

from pct.evaluation.tokens.coders import Bins, Codec
from pct.evaluation.tokens.locality import LimbLimits, best_labelled, measure_locality
from pct.evaluation.tokens.worth import (
    chances,
    codebook_statistics,
    different_ids,
    entropies,
    expected_recall,
    lengths,
    measure_likeness,
    measure_rate,
    measure_stability,
)
from pct.people.poses import generate_poses3d
from pct.skeleton import COCO17

CODEC = Codec(make_person_tokenizer())
TABLE = make_table(300)
POSES, VISIBLE = CODEC.view(TABLE), TABLE.visible
WHOLE = CODEC.view(make_table(300, labelled=1.0))
ALL = torch.ones(300, 17, dtype=torch.bool)


def test_rate_of_bins_is_their_rounding_error_at_the_usual_lengths() -> None:
    coder = Bins(4.0, CODEC)
    (point,) = measure_rate(coder, coder.encode(POSES, VISIBLE), POSES, VISIBLE)
    # The mean distance from the middle of a square of side one.
    assert point["error"] == pytest.approx(4 * 0.3826, rel=0.05)
    assert point["tokens"] == 34
    assert point["entropy_bits"] < point["plain_bits"] == pytest.approx(34 * math.log2(65))
    assert (lengths([34]), lengths(range(17, 35))) == ([34], [17, 24, 34])
    assert lengths(range(1, 17)) == [1, 2, 4, 6, 8, 10, 12, 16]


def test_entropies_and_codebook_statistics_equal_a_hand_calculation() -> None:
    indices = torch.tensor([[0, 1], [1, 1], [2, 3], [3, 3]])
    assert entropies(indices, 4).tolist() == pytest.approx([2.0, 1.0])
    assert entropies(indices, 4, unknown=3).tolist() == pytest.approx([math.log2(3), 0.0])
    indices = torch.tensor([[0, 3], [1, 3], [0, 3], [1, 3]])
    book = codebook_statistics(indices, 4)
    assert book["counts"] == [2, 2, 0, 4]
    assert [use["entropy_bits"] for use in book["positions"]] == pytest.approx([1.0, 0.0])
    assert (book["bits_per_pose"], book["most_bits_per_pose"]) == pytest.approx((1.0, 4))
    assert (book["use"]["entropy_bits"], book["use"]["usage"]) == pytest.approx((1.5, 0.75))


def test_bins_keep_the_ids_that_the_formula_says_and_without_noise_all() -> None:
    for step in (4.0, 8.0):
        coder = Bins(step, CODEC)
        rows = measure_stability(coder, coder.encode(POSES, VISIBLE), POSES, VISIBLE, (0.0, 1.0, 2.0))
        assert (rows[0]["coder"], rows[0]["kept"], rows[0]["moved"]) == (f"bins of {step:g} px", 1, 0)
        for row in rows:
            assert row["kept"] == pytest.approx(1 - row["noise"] * math.sqrt(2 / math.pi) / step, abs=0.02)


def test_noise_leaves_the_root() -> None:
    bodies, codec = generate_poses3d(20), Codec(make_tokenizer_3d())
    seen, coder = codec.view(bodies), Bins(10.0, codec)
    indices = coder.encode(seen, bodies.visible)
    coder.encode = Mock(wraps=coder.encode)
    measure_stability(coder, indices, seen, bodies.visible, [20.0], root=0)
    moved = (coder.encode.call_args.args[0] - seen).flatten(2)
    assert moved[:, 0].abs().max() == 0
    assert moved[:, 1:].std() == pytest.approx(20, rel=0.1)


def test_recall_with_ties_is_its_expectation() -> None:
    true = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0]])
    # Two nearest ones by truth: 0 and 1. Found: 1 surely, and one of 0, 2 and 4 by chance.
    found = torch.tensor([[5.0, 1.0, 5.0, 9.0, 5.0]])
    assert chances(found, 2)[0].tolist() == pytest.approx([1 / 3, 1, 1 / 3, 0, 1 / 3])
    assert expected_recall(chances(true, 2), chances(found, 2)) == pytest.approx((1 + 1 / 3) / 2)
    # The query itself, at place 0, is not found: 1 and 2 are nearest, and 2 shares one place with 4.
    itself = torch.tensor([0])
    assert expected_recall(chances(true, 2, itself), chances(found, 2, itself)) == pytest.approx((1 + 1 / 2) / 2)
    with pytest.raises(ValueError, match="3 nearest ones of 2"):
        chances(torch.zeros(2, 3), 3, torch.tensor([0, 1]))
    assert different_ids(torch.tensor([[1, 2, 1000]]), torch.tensor([[1, 2, 1000], [1, 3, 7]])).tolist() == [[0, 2]]


def test_likeness_of_fine_vectors_is_nearly_perfect_and_needs_whole_poses() -> None:
    coder = Bins(0.01, CODEC)
    indices = [coder.encode(WHOLE, ALL)]
    result = measure_likeness([coder], indices, WHOLE, ALL)
    assert result is not None
    assert (result["num_queries"], result["num_poses"]) == (300, 300)
    assert result["chance"] == pytest.approx(10 / 299)
    # Vectors go by the square of the distance of all joints, truth by the mean distance.
    assert result["by_vectors"][coder.name] > 0.7
    assert result["by_ids"][coder.name] < 0.1
    assert measure_likeness([coder], indices, WHOLE, ~ALL) is None


def test_bins_are_local() -> None:
    coder = Bins(8.0, CODEC)
    limits = LimbLimits(WHOLE, ALL, COCO17)
    rows = best_labelled(VISIBLE)
    assert len(rows) == 256
    assert VISIBLE[rows].sum(dim=1).min() >= VISIBLE.sum(dim=1).sort(descending=True).values[255]
    row = measure_locality(coder, coder.encode(WHOLE, ALL)[rows], limits, 2.0)
    assert row["moved_joints"] == 1
    anatomy = torch.tensor(row["anatomy"])  # two tokens a joint move it, and no other one
    assert ((anatomy > 0) == torch.eye(17).repeat_interleave(2, dim=0).bool()).all()
    assert row["wrong_worst"] == pytest.approx(17 * row["wrong_mean"], rel=0.02)
    # Anywhere in the crop: a third of its side in the mean, where both places are chance.
    assert 40 < row["wrong_worst"] < 130
    assert 0 <= row["plausible"] <= 1


def test_limbs_that_are_too_long_too_uneven_or_in_space_too_short_are_no_person() -> None:
    limits = LimbLimits(WHOLE, ALL, COCO17)
    wrist, elbow = (COCO17.keypoint_names.index(name) for name in ("left_wrist", "left_elbow"))
    real = limits.plausible(WHOLE)
    assert real > 0.85
    stretched = WHOLE.clone()
    stretched[:, wrist] += 400
    assert limits.plausible(stretched) == 0
    assert limits.plausible(stretched.index_fill(1, torch.tensor(wrist), torch.nan)) >= real
    assert limits.plausible(stretched, ALL.index_fill(1, torch.tensor(wrist), False)) >= real
    # Shorter is possible in an image, but not shorter than the other arm by more than in any pose.
    short = WHOLE.clone()
    short[:, wrist] = short[:, elbow] + 1e-3
    assert limits.plausible(short) == 0
    assert LimbLimits(WHOLE, ALL, replace(COCO17, flip_pairs=())).plausible(short) > 0.85
    bodies = generate_poses3d(200)
    seen = Codec(make_tokenizer_3d()).view(bodies)
    limits = LimbLimits(seen, bodies.visible, bodies.skeleton)
    assert limits.plausible(seen) == 1
    assert limits.plausible(seen * 0.3) == 0
