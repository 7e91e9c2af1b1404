"""Ways to write poses as integers: they decode to what they encoded, and more tokens say more."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from tiny_bodies import make_tokenizer_3d
from tiny_evaluation import fit_ridge, make_person_tokenizer, make_table
from tool_loader import load_tool

from pct.evaluation.tokens.coders import Bins, Codec, Coder
from pct.evaluation.tokens.worth import plain_bins
from pct.people.poses import generate_poses3d
from pct.pose_space import PoseSpace

FITTED = load_tool("coders", "benchmarks")
CODEC = Codec(make_person_tokenizer(layout="residual"))
BODIES = Codec(make_tokenizer_3d())
TABLE = make_table()
POSES, VISIBLE = CODEC.view(TABLE), TABLE.visible
RIDGE = fit_ridge(CODEC, make_table(400, seed=1))
WHOLE = FITTED.fill(RIDGE, RIDGE.keypoints, RIDGE.visible)
ALL = torch.ones(20, 17, dtype=torch.bool)
CODERS = [CODEC, *plain_bins(CODEC), *FITTED.fit_coders(CODEC, RIDGE)]


@pytest.mark.parametrize("units", ["unit", "pixels"])
def test_pixels_of_the_crop_give_the_tokens_of_image_pixels(units: str) -> None:
    tokenizer = make_person_tokenizer(space=PoseSpace(units=units, crop_size=192))
    codec = Codec(tokenizer)
    crop = codec.view(TABLE)
    assert (codec.unit, codec.root) == ("px", None)
    assert crop[VISIBLE].min() >= 0
    assert crop[VISIBLE].max() <= 192
    indices = codec.encode(crop, VISIBLE)
    assert torch.equal(indices, tokenizer.encode(TABLE.keypoints, VISIBLE, TABLE.bbox))
    decoded = codec.space.report_space.normalise(tokenizer.decode(indices, TABLE.bbox), TABLE.bbox)
    torch.testing.assert_close(codec.decode(indices), decoded, atol=1e-2, rtol=0)


def test_millimetres_from_the_root_give_the_tokens_of_millimetres_in_space() -> None:
    seen = BODIES.view(generate_poses3d(20), seed=3)
    far = torch.tensor([100.0, 200.0, 4000.0])
    indices = BODIES.encode(seen, ALL)
    assert torch.equal(indices, BODIES.tokenizer.encode(seen + far))
    decoded = BODIES.tokenizer.decode(indices, (seen + far)[:, 0])
    torch.testing.assert_close(BODIES.decode(indices), decoded - decoded[:, :1], atol=0.05, rtol=0)
    assert BODIES.decode(indices)[:, BODIES.root].abs().max() == 0


def test_hidden_joints_do_not_leak_and_the_root_is_always_known() -> None:
    seen, visible = BODIES.view(generate_poses3d(20)), ALL.clone()
    visible[:, [0, 5, 12]] = False
    lost = seen.masked_fill(~visible[..., None], torch.nan)
    filled = BODIES.complete(lost, visible)
    torch.testing.assert_close(filled, BODIES.complete(lost.nan_to_num(777.0), visible))
    visible[:, 0] = True
    torch.testing.assert_close(filled, BODIES.decode(BODIES.encode(seen, visible)))
    assert BODIES.hideable(visible).sum(dim=1).tolist() == [14] * 20


def test_tables_of_another_dimension_are_refused() -> None:
    with pytest.raises(ValueError, match="the poses are 2D; this tokenizer's pose space is root3d"):
        BODIES.view(TABLE)
    with pytest.raises(ValueError, match="the poses are 3D; this tokenizer's pose space is crop2d"):
        CODEC.view(generate_poses3d(2))


@pytest.mark.parametrize("step", [1.0, 4.0, 8.0])
def test_bins_decode_to_within_half_a_step(step: float) -> None:
    coder = Bins(step, CODEC)
    indices = coder.encode(POSES, VISIBLE)
    decoded = coder.decode(indices)
    assert (decoded - POSES)[VISIBLE].abs().max() <= step / 2 + 1e-4
    assert torch.isnan(decoded[~VISIBLE]).all()
    assert torch.equal(coder.encode(decoded, VISIBLE), indices)
    assert torch.equal(indices == coder.unknown, ~VISIBLE.repeat_interleave(2, dim=1))
    assert len(coder.sizes) == indices.shape[1] == 34
    assert coder.sizes[0] == 256 / step + 1


def test_bins_take_what_lies_outside_and_leave_out_the_root() -> None:
    outermost = Bins(8.0, CODEC)
    far = torch.tensor([-50.0, 300.0]).expand(1, 17, 2)
    assert outermost.decode(outermost.encode(far, ALL[:1]))[0, 0].tolist() == [4.0, 252.0]
    seen, coder = BODIES.view(generate_poses3d(20)), Bins(10.0, BODIES)
    indices = coder.encode(seen, ALL)
    assert indices.shape == (20, 48)
    assert (coder.decode(indices) - seen).abs().max() <= 5 + 1e-3


def test_principal_components_with_a_small_step_give_the_pose_back() -> None:
    coder, whole = FITTED.PrincipalComponents(0.01, RIDGE, WHOLE, "px"), VISIBLE.all(dim=1)
    decoded = coder.decode(coder.encode(POSES[whole], VISIBLE[whole]))
    # Test poses beyond all training poses are cut off.
    assert (decoded - POSES[whole]).norm(dim=-1).median() < 0.05
    assert all(size >= 1 for size in coder.sizes)


@pytest.mark.parametrize("coder", CODERS[-2:], ids=lambda coder: coder.name)
def test_more_tokens_of_an_ordered_coder_say_more(coder: Coder) -> None:
    indices = coder.encode(POSES, VISIBLE)
    decoded = [coder.decode(indices[:, :length]) for length in coder.prefixes]
    errors = [float((keypoints - POSES)[VISIBLE].norm(dim=-1).mean()) for keypoints in decoded]
    assert errors[-1] < 0.7 * errors[0]
    assert all(b < a * 1.1 for a, b in pairwise(errors))


@pytest.mark.parametrize("coder", CODERS, ids=lambda coder: coder.name)
def test_every_coder_keeps_the_contract(coder: Coder) -> None:
    indices = coder.encode(POSES, VISIBLE)
    assert indices.dtype == torch.int64
    assert indices.shape == (40, len(coder.sizes))
    assert ((indices >= 0) & (indices < torch.tensor(coder.sizes))).all()
    assert coder.prefixes[-1] == len(coder.sizes)
    assert torch.equal(indices, coder.encode(POSES, VISIBLE))
    assert coder.decode(indices).shape == coder.decode(indices[:, : coder.prefixes[0]]).shape == POSES.shape
    assert coder.embed(indices).shape[:2] == indices.shape
    if coder is not CODEC:
        assert torch.equal(coder.encode(torch.where(VISIBLE[..., None], POSES, torch.nan), VISIBLE), indices)


def test_tokenizers_side_by_side_must_have_one_frame() -> None:
    assert [coder.name for coder in CODERS[:3]] == ["tokenizer", "bins of 1 px", "bins of 4 px"]
    wide = Codec(make_person_tokenizer(space=PoseSpace(padding=1.5)), "wide")
    with pytest.raises(ValueError, match="wide and tokenizer have other joints or another crop"):
        FITTED.check_frames([CODEC, wide])


@pytest.mark.parametrize("step", [0.0, -1.0, math.nan, math.inf])
def test_steps_must_be_positive(step: float) -> None:
    with pytest.raises(ValueError, match="the step is"):
        Bins(step, CODEC)
    with pytest.raises(ValueError, match="the step is"):
        FITTED.PrincipalComponents(step, RIDGE, WHOLE, "px")
