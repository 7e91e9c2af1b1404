"""Normalised 2D poses: what they do not depend on, unknown joints, z-scores, mirror images."""

from __future__ import annotations

import pytest
import torch

from pct.lifting.pose_normalizer import PoseNormalizer

SIZE = torch.tensor([640.0, 480.0])


def poses(count: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    visible = torch.tensor([True, True, False, True]).repeat(count, 1)
    return torch.rand(count, 4, 2, generator=generator) * 300 + 100, visible


def test_a_box_forgets_place_and_size_and_what_unknown_joints_hold() -> None:
    (keypoints, visible), normalizer = poses(), PoseNormalizer(4)
    plain, wild = normalizer(keypoints, visible), keypoints.clone()
    wild[:, 2] = torch.nan
    torch.testing.assert_close(normalizer(wild * 3 + 1000, visible), plain, atol=1e-4, rtol=1e-4)
    assert plain.abs().amax(dim=(1, 2)).tolist() == pytest.approx([1.0] * 5)
    assert not plain[:, 2].any()
    alone = torch.tensor([False, True, False, False]).expand(5, 4)
    assert not normalizer(keypoints, alone).any(), "a single known joint lies in the middle"


def test_the_screen_runs_from_minus_one_to_one_in_width() -> None:
    corners = torch.tensor([[[0.0, 0.0], [1000.0, 500.0], [500.0, 250.0], [0.0, 500.0]]])
    visible = torch.ones(1, 4, dtype=torch.bool)
    placed = PoseNormalizer(4, "screen")(corners, visible, torch.tensor([1000.0, 500.0]))
    assert placed[0].tolist() == [[-1.0, -0.5], [1.0, 0.5], [0.0, 0.0], [-1.0, 0.5]]


def test_z_scores_of_the_poses_that_were_fitted() -> None:
    keypoints, visible = poses(400)
    visible[::2, 2] = True
    normalizer = PoseNormalizer(4, z_score=True)
    normalizer.fit(keypoints, visible)
    scored = normalizer(keypoints, visible)
    torch.testing.assert_close(scored[:, 0].mean(dim=0), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(scored[::2, 2].std(dim=0, correction=0), torch.ones(2), atol=1e-4, rtol=0)
    assert set(normalizer.state_dict()) == {"mean", "std"}
    assert not PoseNormalizer(4).state_dict()


def test_what_cannot_be_placed_is_refused() -> None:
    given, screen = poses(), PoseNormalizer(4, "screen")
    for make, message in (
        (lambda: screen(*given), "give image_size"),
        (lambda: screen(*given, torch.ones(3, 2)), r"must be \(2,\) or \(5, 2\); got shape \(3, 2\)"),
        (lambda: screen(*given, torch.tensor([640.0, 0.0])), r"must be positive, got \[640.0, 0.0\]"),
        (lambda: PoseNormalizer(4, z_score=True).fit(*given), "joint 2 is known in 0 poses"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
