"""A tokenizer in report units gives the tokens and joints of the tokenizer itself."""

from __future__ import annotations

import pytest
import torch
from tiny_bodies import make_tokenizer_3d
from tiny_evaluation import make_person_tokenizer, make_table

from pct.evaluation.tokens.codec import Codec
from pct.people.poses import generate_poses3d
from pct.pose_space import PoseSpace


@pytest.mark.parametrize("units", ["unit", "pixels"])
def test_pixels_of_the_crop_give_the_tokens_of_image_pixels(units: str) -> None:
    table, tokenizer = make_table(), make_person_tokenizer(space=PoseSpace(units=units, crop_size=192))
    codec = Codec(tokenizer)
    crop = codec.view(table)
    assert (codec.unit, codec.root) == ("px", None)
    assert crop[table.visible].min() >= 0
    assert crop[table.visible].max() <= 192
    indices = codec.encode(crop, table.visible)
    assert torch.equal(indices, tokenizer.encode(table.keypoints, table.visible, table.bbox))
    decoded = codec.to_crop(tokenizer.decode(indices, table.bbox), table.bbox)
    torch.testing.assert_close(codec.decode(indices), decoded, atol=1e-2, rtol=0)


def test_millimetres_from_the_root_give_the_tokens_of_millimetres_in_space() -> None:
    codec = Codec(make_tokenizer_3d())
    seen = codec.view(generate_poses3d(20), seed=3)
    far = torch.tensor([100.0, 200.0, 4000.0])
    indices = codec.encode(seen, torch.ones(20, 17, dtype=torch.bool))
    assert torch.equal(indices, codec.tokenizer.encode(seen + far))
    decoded = codec.tokenizer.decode(indices, (seen + far)[:, 0])
    torch.testing.assert_close(codec.decode(indices), decoded - decoded[:, :1], atol=0.05, rtol=0)
    assert codec.decode(indices)[:, codec.root].abs().max() == 0


def test_a_prefix_of_an_ordered_model_decodes() -> None:
    codec = Codec(make_person_tokenizer(layout="residual"))
    indices = codec.encode(codec.view(make_table()), make_table().visible)
    assert codec.decode(indices[:, :1]).shape == (40, 17, 2)


def test_hidden_joints_do_not_leak_and_the_root_is_always_known() -> None:
    codec = Codec(make_tokenizer_3d())
    seen = codec.view(generate_poses3d(20))
    visible = torch.ones(20, 17, dtype=torch.bool)
    visible[:, [0, 5, 12]] = False
    lost = seen.masked_fill(~visible[..., None], torch.nan)
    filled = codec.complete(lost, visible)
    torch.testing.assert_close(filled, codec.complete(lost.nan_to_num(777.0), visible))
    known = visible.clone()
    known[:, 0] = True
    torch.testing.assert_close(filled, codec.decode(codec.encode(seen, known)))
    assert codec.hideable(known).sum(dim=1).tolist() == [14] * 20


def test_tables_of_another_dimension_are_refused() -> None:
    with pytest.raises(ValueError, match="the poses are 2D; this tokenizer's pose space is root3d"):
        Codec(make_tokenizer_3d()).view(make_table())
    with pytest.raises(ValueError, match="the poses are 3D; this tokenizer's pose space is crop2d"):
        Codec(make_person_tokenizer()).view(generate_poses3d(2))
