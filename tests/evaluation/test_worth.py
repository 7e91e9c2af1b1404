"""What tokens are worth: hand calculations and known answers for rate, stability, likeness and locality."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tiny_bodies import make_tokenizer_3d
from tiny_evaluation import make_person_tokenizer, make_table
from torch import Tensor

from pct.evaluation.tokens.codec import Codec
from pct.evaluation.tokens.coders import Bins
from pct.evaluation.tokens.likeness import chances, different_ids, expected_recall, measure_likeness
from pct.evaluation.tokens.locality import BodyLimits, measure_locality
from pct.evaluation.tokens.rate import entropies, lengths, measure_rate
from pct.evaluation.tokens.sequence_model import fit_sequence_model
from pct.evaluation.tokens.stability import box_jitter, measure_stability, noise, turn
from pct.people.poses import generate_poses3d
from pct.skeleton import COCO17

CODEC = Codec(make_person_tokenizer())
TABLE = make_table(300)
POSES, VISIBLE = CODEC.view(TABLE), TABLE.visible
WHOLE = CODEC.view(make_table(300, labelled=1.0))
ALL = torch.ones(300, 17, dtype=torch.bool)


def _ids(n: int, tokens: int, size: int) -> Tensor:
    return torch.randint(size, (n, tokens), generator=torch.Generator().manual_seed(0))


def test_entropies_equal_a_hand_calculation() -> None:
    indices = torch.tensor([[0, 1], [1, 1], [2, 3], [3, 3]])
    assert entropies(indices, 4).tolist() == pytest.approx([2.0, 1.0])
    assert entropies(indices, 4, unknown=3).tolist() == pytest.approx([math.log2(3), 0.0])


def test_lengths_are_the_usual_ones_that_a_coder_decodes() -> None:
    assert lengths(range(17, 35)) == [17, 24, 34]
    assert lengths([34]) == [34]
    assert lengths(range(1, 17)) == [1, 2, 4, 6, 8, 10, 12, 16]


def test_rate_of_bins_is_their_rounding_error() -> None:
    coder = Bins(4.0, CODEC, 17)
    (point,) = measure_rate(coder, coder.encode(POSES, VISIBLE), POSES, VISIBLE)
    # The mean distance from the middle of a square of side one.
    assert point["error"] == pytest.approx(4 * 0.3826, rel=0.05)
    assert (point["tokens"], point["model_bits"]) == (34, None)
    assert point["entropy_bits"] < point["plain_bits"] == pytest.approx(34 * math.log2(65))


def test_the_model_of_sequences_finds_what_ids_say_of_each_other() -> None:
    first = _ids(4000, 1, 8)
    indices = torch.cat([first, (first + 3) % 8, _ids(4000, 2, 8)[:, 1:]], dim=1)
    bits = fit_sequence_model(indices[:3000], 8).bits(indices[3000:])
    assert bits[0] == pytest.approx(3, abs=0.05)
    assert bits[1] < 0.1
    assert bits[2] == pytest.approx(3, abs=0.1)
    assert torch.equal(bits, fit_sequence_model(indices[:3000], 8).bits(indices[3000:]))


def test_the_model_of_sequences_does_not_pay_for_unknown_ids() -> None:
    indices = _ids(2000, 2, 4)
    indices[torch.rand(2000, 2, generator=torch.Generator().manual_seed(1)) < 0.5] = 4
    assert fit_sequence_model(indices, 5, unknown=4).bits(indices).tolist() == pytest.approx([2, 2], abs=0.05)


def test_bins_keep_the_ids_that_the_formula_says() -> None:
    coders = [Bins(step, CODEC, 17) for step in (4.0, 8.0)]
    indices = [coder.encode(POSES, VISIBLE) for coder in coders]
    for row in measure_stability(coders, indices, POSES, VISIBLE, [noise(1.0, "px"), noise(2.0, "px")]):
        step, size = float(row["coder"].split()[2]), float(row["change"].split()[1])
        assert row["kept"] == pytest.approx(1 - size * math.sqrt(2 / math.pi) / step, abs=0.02)


def test_no_noise_keeps_all_ids_and_moves_nothing() -> None:
    coder = Bins(4.0, CODEC, 17)
    changes = [noise(0.0, "px"), box_jitter(0.0, 256, 1.25)]
    for row in measure_stability([coder], [coder.encode(POSES, VISIBLE)], POSES, VISIBLE, changes):
        assert (row["kept"], row["moved"]) == (1.0, 0.0)


def test_changes_can_be_undone_and_leave_the_root() -> None:
    seen = Codec(make_tokenizer_3d()).view(generate_poses3d(50))
    generator = torch.Generator().manual_seed(0)
    turned, undo = turn(5).apply(seen, generator)
    torch.testing.assert_close(undo(turned), seen, atol=0.01, rtol=0)
    torch.testing.assert_close(turned[..., 1], seen[..., 1])
    level, before = turned[..., [0, 2]], seen[..., [0, 2]]
    cosine = (level * before).sum(dim=-1) / before.square().sum(dim=-1).clamp(min=1)
    torch.testing.assert_close(cosine[:, 1:], torch.full((50, 16), math.cos(math.radians(5))), atol=1e-3, rtol=0)
    jittered, undo = box_jitter(0.05, 256, 1.25).apply(WHOLE, generator)
    torch.testing.assert_close(undo(jittered), WHOLE, atol=0.01, rtol=0)
    # A twentieth of the side of 205 pixels, and as much again at the edge of the box.
    assert 5 < (jittered - WHOLE).abs().max() < 1.1 * 0.1 * 205
    assert noise(5.0, "mm", root=0).apply(seen, generator)[0][:, 0].abs().max() == 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: noise(-1.0, "px"), "noise is -1.0 px; it must be at least 0"),
        (lambda: noise(math.nan, "px"), "noise is nan"),
        (lambda: box_jitter(1.0, 256, 1.25), "box jitter is 1.0 of the side; it must be at least 0 and below 1"),
        (lambda: box_jitter(-0.1, 256, 1.25), "box jitter is -0.1"),
        (lambda: turn(200), "the turn is 200 degrees; it must be from 0 to 180"),
        (lambda: chances(torch.zeros(2, 3), 3, torch.tensor([0, 1])), "3 nearest ones of 2"),
        (lambda: fit_sequence_model(_ids(1, 2, 4), 4), "at least 2 training poses, got 1"),
        (
            lambda: measure_locality([], [], POSES, VISIBLE, BodyLimits(POSES, VISIBLE, COCO17), -1.0),
            "threshold is -1.0",
        ),
    ],
)
def test_bad_arguments_are_named(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_recall_with_ties_is_its_expectation() -> None:
    true = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0]])
    # Two nearest ones by truth: 0 and 1. Found: 1 surely, and one of 0, 2 and 4 by chance.
    found = torch.tensor([[5.0, 1.0, 5.0, 9.0, 5.0]])
    assert chances(found, 2)[0].tolist() == pytest.approx([1 / 3, 1, 1 / 3, 0, 1 / 3])
    assert expected_recall(chances(true, 2), chances(found, 2)) == pytest.approx((1 + 1 / 3) / 2)
    # The query itself, at place 0, is not found: 1 and 2 are nearest, and 2 shares one place with 4.
    itself = torch.tensor([0])
    assert expected_recall(chances(true, 2, itself), chances(found, 2, itself)) == pytest.approx((1 + 1 / 2) / 2)


def test_ids_that_differ_are_counted() -> None:
    assert different_ids(torch.tensor([[1, 2, 1000]]), torch.tensor([[1, 2, 1000], [1, 3, 7]])).tolist() == [[0, 2]]


def test_likeness_of_fine_vectors_is_nearly_perfect_and_needs_whole_poses() -> None:
    coder = Bins(0.01, CODEC, 17)
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
    coder = Bins(8.0, CODEC, 17)
    limits = BodyLimits(WHOLE, ALL, COCO17)
    result = measure_locality([coder], [coder.encode(WHOLE, ALL)], WHOLE, ALL, limits, 2.0)
    (row,) = result["coders"]
    assert row["moved_joints"] == 1
    assert row["wrong_worst"] == pytest.approx(17 * row["wrong_mean"], rel=0.02)
    # Anywhere in the crop: a third of its side in the mean, where both places are chance.
    assert 40 < row["wrong_worst"] < 130
    assert result["real_plausible"] > 0.85
    assert 0 <= row["plausible"] <= 1


def test_limbs_that_are_too_long_or_too_uneven_are_no_person() -> None:
    limits = BodyLimits(WHOLE, ALL, COCO17)
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
    assert BodyLimits(WHOLE, ALL, replace(COCO17, flip_pairs=())).plausible(short) > 0.85


def test_limbs_in_space_must_not_be_too_short() -> None:
    bodies = generate_poses3d(200)
    codec = Codec(make_tokenizer_3d())
    seen = codec.view(bodies)
    limits = BodyLimits(seen, bodies.visible, bodies.skeleton)
    assert limits.plausible(seen) == 1
    assert limits.plausible(seen * 0.3) == 0
