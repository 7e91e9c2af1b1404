"""Ways to write poses as integers: they decode to what they encoded, and more tokens say more."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from tiny_bodies import make_tokenizer_3d
from tiny_evaluation import fit_ridge, make_person_tokenizer, make_table

from pct.evaluation.tokens.codec import Codec
from pct.evaluation.tokens.coders import Bins, Coder, PrincipalComponents, ResidualKMeans, build_coders
from pct.people.poses import generate_poses3d
from pct.pose_space import PoseSpace

CODEC = Codec(make_person_tokenizer(layout="residual"))
TABLE = make_table()
POSES, VISIBLE = CODEC.view(TABLE), TABLE.visible
RIDGE = fit_ridge(CODEC, make_table(400, seed=1))
WHOLE = RIDGE.fill(RIDGE.keypoints, RIDGE.visible)


def _errors(coder: Coder) -> list[float]:
    indices = coder.encode(POSES, VISIBLE)
    decoded = [coder.decode(indices[:, :length]) for length in coder.prefixes]
    return [float((keypoints - POSES)[VISIBLE].norm(dim=-1).mean()) for keypoints in decoded]


@pytest.mark.parametrize("step", [1.0, 4.0, 8.0])
def test_bins_decode_to_within_half_a_step(step: float) -> None:
    coder = Bins(step, CODEC)
    indices = coder.encode(POSES, VISIBLE)
    decoded = coder.decode(indices)
    assert (decoded - POSES)[VISIBLE].abs().max() <= step / 2 + 1e-4
    assert torch.isnan(decoded[~VISIBLE]).all()
    assert torch.equal(coder.encode(decoded, VISIBLE), indices)
    unknown = ~VISIBLE.repeat_interleave(2, dim=1)
    assert torch.equal(indices == coder.unknown, unknown)
    assert len(coder.sizes) == indices.shape[1] == 34
    assert coder.sizes[0] == 256 / step + 1


def test_joints_outside_the_crop_go_into_the_outermost_bins() -> None:
    coder = Bins(8.0, CODEC)
    far = torch.tensor([-50.0, 300.0]).expand(1, 17, 2)
    decoded = coder.decode(coder.encode(far, torch.ones(1, 17, dtype=torch.bool)))
    assert decoded[0, 0].tolist() == [4.0, 252.0]


def test_bins_of_bodies_leave_out_the_root() -> None:
    codec = Codec(make_tokenizer_3d())
    seen = codec.view(generate_poses3d(20))
    coder = Bins(10.0, codec)
    indices = coder.encode(seen, torch.ones(20, 17, dtype=torch.bool))
    assert indices.shape == (20, 48)
    assert (coder.decode(indices) - seen).abs().max() <= 5 + 1e-3


def test_principal_components_with_a_small_step_give_the_pose_back() -> None:
    coder = PrincipalComponents(0.01, RIDGE, WHOLE, "px")
    whole = VISIBLE.all(dim=1)
    decoded = coder.decode(coder.encode(POSES[whole], VISIBLE[whole]))
    inside = POSES[whole]
    # Test poses beyond all training poses are cut off.
    assert (decoded - inside).norm(dim=-1).median() < 0.05
    assert all(size >= 1 for size in coder.sizes)


@pytest.mark.parametrize(
    "coder", [PrincipalComponents(2.0, RIDGE, WHOLE, "px"), ResidualKMeans(RIDGE, WHOLE)], ids=lambda c: c.name
)
def test_more_tokens_of_an_ordered_coder_say_more(coder: Coder) -> None:
    errors = _errors(coder)
    assert errors[-1] < 0.7 * errors[0]
    assert all(b < a * 1.1 for a, b in pairwise(errors))


def test_the_tokenizer_is_a_coder_like_the_others() -> None:
    assert CODEC.prefixes == (1, 2, 3, 4, 5, 6)
    assert CODEC.sizes == (16,) * 6
    assert CODEC.embed(CODEC.encode(POSES, VISIBLE)).shape == (40, 6, 34)


@pytest.mark.parametrize("coder", build_coders([CODEC], RIDGE, (4.0,), 4.0), ids=lambda c: c.name)
def test_every_coder_keeps_the_contract(coder: Coder) -> None:
    indices = coder.encode(POSES, VISIBLE)
    assert indices.dtype == torch.int64
    assert indices.shape == (40, len(coder.sizes))
    assert ((indices >= 0) & (indices < torch.tensor(coder.sizes))).all()
    assert coder.prefixes[-1] == len(coder.sizes)
    assert torch.equal(indices, coder.encode(POSES, VISIBLE))
    assert coder.decode(indices).shape == POSES.shape
    assert coder.embed(indices).shape[:2] == indices.shape
    poisoned = torch.where(VISIBLE[..., None], POSES, torch.nan)
    if not isinstance(coder, Codec):
        assert torch.equal(coder.encode(poisoned, VISIBLE), indices)


def test_without_training_poses_nothing_is_fitted() -> None:
    names = [coder.name for coder in build_coders([CODEC], None, (1.0, 4.0), 4.0)]
    assert names == ["tokenizer", "bins of 1 px", "bins of 4 px"]


def test_tokenizers_side_by_side_must_have_one_frame() -> None:
    wide = Codec(make_person_tokenizer(space=PoseSpace(padding=1.5)), "wide")
    with pytest.raises(ValueError, match="wide and tokenizer have other joints or another crop"):
        build_coders([CODEC, wide], None, (1.0,), 4.0)
    with pytest.raises(ValueError, match="no tokenizer"):
        build_coders([], None, (1.0,), 4.0)


@pytest.mark.parametrize("step", [0.0, -1.0, math.nan, math.inf])
def test_steps_must_be_positive(step: float) -> None:
    with pytest.raises(ValueError, match="the step is"):
        Bins(step, CODEC)
    with pytest.raises(ValueError, match="the step is"):
        PrincipalComponents(step, RIDGE, WHOLE, "px")
