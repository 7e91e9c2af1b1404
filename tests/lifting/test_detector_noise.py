"""Errors of detectors: as strong as configured, counted exactly where asked, a pure function of the generator."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pct.lifting.detector_noise import DetectorNoise, NoiseConfig
from pct.skeleton import COCO17, H36M16, H36M17

N = 20_000
CLEAN = NoiseConfig.clean()


def poses(n: int = N) -> tuple[Tensor, Tensor]:
    """Poses in boxes whose longer side is 200 pixels."""
    x = torch.rand(n, 17, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([100.0, 200.0]) + 300
    x[:, 9], x[:, 10] = torch.tensor([350.0, 300.0]), torch.tensor([350.0, 500.0])
    return x, torch.ones(n, 17, dtype=torch.bool)


def noisy(config: NoiseConfig | None, missing: int | None = None, seed: int = 0) -> tuple[Tensor, Tensor]:
    return DetectorNoise(H36M17, config, missing)(*poses(), torch.Generator().manual_seed(seed))


def test_jitter_is_a_share_of_the_box_and_twice_as_much_at_wrists_and_outliers_make_heavier_tails() -> None:
    names, before = H36M17.keypoint_names, poses()[0]
    error = noisy(NoiseConfig(jitter=0.01, outlier_share=0, swap_share=0, missing_share=0))[0] - before
    spread = error.std(dim=(0, 2))
    assert float(spread[names.index("hip")]) == pytest.approx(2.0, rel=0.03)
    assert float(spread[names.index("left_wrist")]) == pytest.approx(4.0, rel=0.03)
    assert float(error.mean().abs()) < 0.02
    config = NoiseConfig(jitter=0.01, outlier_share=0.05, outlier_scale=6, swap_share=0, missing_share=0)
    hip = (noisy(config)[0] - before)[:, 0]
    assert float(hip.square().mean()) == pytest.approx(4 * (0.95 + 0.05 * 36), rel=0.1)
    assert float((hip.abs() > 8).float().mean()) == pytest.approx(0.05 * 0.505, rel=0.2)


def test_swaps_change_whole_limbs_as_often_as_configured() -> None:
    x, _ = noisy(NoiseConfig(jitter=0, outlier_share=0, swap_share=0.2, missing_share=0))
    before = poses()[0]
    index = torch.from_numpy(H36M17.flip_index)
    arms = [i for i, n in enumerate(H36M17.keypoint_names) if n.split("_")[-1] in ("shoulder", "elbow", "wrist")]
    legs = [1, 2, 3, 4, 5, 6]
    for limb in (arms, legs):
        swapped = (x[:, limb] == before[:, index][:, limb]).flatten(1).all(dim=1)
        kept = (x[:, limb] == before[:, limb]).flatten(1).all(dim=1)
        assert (swapped ^ kept).all()
        assert float(swapped.float().mean()) == pytest.approx(0.2, abs=0.01)
    middle = [0, 7, 8, 9, 10]
    assert torch.equal(x[:, middle], before[:, middle])


@pytest.mark.parametrize("missing", [0, 1, 4, 16])
def test_the_exact_number_of_joints_is_missing(missing: int) -> None:
    x, visible = noisy(CLEAN, missing)
    assert (visible.sum(dim=1) == 17 - missing).all()
    assert (x[~visible] == 0).all()
    assert torch.equal(x[visible], poses()[0][visible])
    lost = (~visible).float().mean(dim=0)
    assert torch.allclose(lost, torch.full((17,), missing / 17), atol=0.02)


def test_missing_joints_by_chance() -> None:
    _, visible = noisy(NoiseConfig(jitter=0, outlier_share=0, swap_share=0, missing_share=0.5, missing=(2, 4)))
    counts = torch.bincount((~visible).sum(dim=1), minlength=17).float() / N
    assert torch.allclose(counts[:5], torch.tensor([0.5, 0.0, 1 / 6, 1 / 6, 1 / 6]), atol=0.015)
    assert counts[5:].sum() == 0
    x, visible = poses(100)
    visible[:, :5] = False
    _, left = DetectorNoise(H36M17, CLEAN, 3)(x, visible, torch.Generator())
    assert (left.sum(dim=1) == 9).all(), "unknown joints count on top"
    assert not (left & ~visible).any()
    x, few = poses(500)
    few[:, 2:] = False
    _, left = DetectorNoise(H36M17, NoiseConfig(missing_share=1, missing=(5, 9)))(x, few, torch.Generator())
    assert (left.sum(dim=1) == 1).all()


def test_same_generator_same_errors_and_inputs_stay_and_a_pose_without_known_joints_stays_one() -> None:
    x, visible = poses(50)
    visible[1] = False
    copies = x.clone(), visible.clone()
    first, second = (DetectorNoise(H36M17)(x, visible, torch.Generator().manual_seed(5)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(x, copies[0])
    assert torch.equal(visible, copies[1])
    assert torch.isfinite(first[0]).all()
    assert not first[1][1].any()


def test_every_skeleton_has_its_limbs() -> None:
    for skeleton in (COCO17, H36M16):
        arms, legs = DetectorNoise(skeleton).limb_flips
        names = skeleton.keypoint_names
        moved = {names[i] for i in range(len(names)) if arms[i] != i or legs[i] != i}
        limbs = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        assert moved == {f"{side}_{n}" for side in ("left", "right") for n in limbs}


def test_bad_input_is_refused() -> None:
    x, visible = poses(2)
    few = visible & (torch.arange(17) < torch.tensor([[17], [3]]))
    for act, message in (
        (lambda: DetectorNoise(H36M17, missing=17), "missing is 17; it must be from 0 to 16 joints of h36m17"),
        (lambda: NoiseConfig(swap_share=1.5), r"swap_share must be in \[0, 1\], got 1.5"),
        (lambda: NoiseConfig(missing_share=2), r"missing_share must be in \[0, 1\], got 2"),
        (lambda: NoiseConfig(jitter=-1), "jitter must not be negative, got -1"),
        (lambda: NoiseConfig(missing=(3, 2)), "noise missing"),
        (lambda: DetectorNoise(H36M16)(x, visible, torch.Generator()), r"h36m16 takes keypoints2d \(B, 16, 2\)"),
        (
            lambda: DetectorNoise(H36M17, missing=3)(x, few, torch.Generator()),
            "pose 1 has 3 known joints and cannot lack 3",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            act()
