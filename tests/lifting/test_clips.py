"""Lifting a frame with its neighbours: the graph's kernel over time, clips photographed by one camera, training."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pct.cameras import project
from pct.lifting.config import LifterConfig
from pct.lifting.detector_noise import DetectorNoise, NoiseConfig
from pct.lifting.joint_groups import hop_sets
from pct.lifting.joint_layers import HopSqueeze
from pct.lifting.lifter import Lifter
from pct.lifting.networks import build_trunk
from pct.lifting.pairs import CameraConfig, clip_windows
from pct.lifting.trunk import Trunk
from pct.people.poses import generate_poses3d
from pct.pose_space import PoseSpace
from pct.skeleton import H36M17
from pct.training.lifting.data import LiftingBatch, PhotographedPoses, RecordedPairs, lifting_batches
from pct.training.tokenizer.augment import Augment3DConfig

CLIPS = torch.tensor([0] * 4 + [1] * 6)
BODIES = replace(
    generate_poses3d(10, seed=0),
    clip_index=CLIPS,
    clip_ids=("a", "b"),
    subject_ids=("one", "two"),
    actions=("walk", "run"),
)


def clips(frames: int = 7, count: int = 3, channels: int = 5) -> Tensor:
    return torch.randn(count, frames, 17, channels, generator=torch.Generator().manual_seed(0))


def make_layer(frames: int) -> HopSqueeze:
    torch.manual_seed(0)
    layer = HopSqueeze(5, 4, hop_sets(H36M17, 3), graph_width=8, frames=frames)
    torch.nn.init.constant_(layer.dynamic.alpha, 0.5)
    return layer


def make_network(frames: int) -> Trunk:
    torch.manual_seed(0)
    network = build_trunk("dhcsf", H36M17, 3, 12, 1, dropout=0.0, frames=frames).eval()
    for name, value in network.named_parameters():
        if name.endswith("alpha"):
            torch.nn.init.constant_(value, 0.5)
    return network


def moved(network: torch.nn.Module, x: Tensor, frame: int, least: float = 1e-6) -> list[bool]:
    """In which frames the result changes where one frame is another."""
    changed = x.clone()
    changed[:, frame] += 1.0
    return ((network(changed) - network(x)).abs().amax(dim=(0, 2, 3)) > least).tolist()


@pytest.mark.parametrize("frames", [3, 5])
def test_the_kernel_sees_its_frames_and_in_the_middle_what_a_single_frame_is(frames: int) -> None:
    single, layer, x, reach = make_layer(1), make_layer(frames), clips(9), frames // 2
    for near in (4 - reach, 4 + reach):
        assert moved(layer, x, near) == [abs(t - near) <= reach for t in range(9)]
    far = [t for t in range(9) if abs(t - 4) > reach]
    shuffled = x.clone()
    shuffled[:, far] = x[:, far[::-1]]
    assert torch.equal(layer(shuffled)[:, 4], layer(x)[:, 4])
    assert (layer(shuffled) - layer(x))[:, far].abs().max() > 1e-3
    state = {name: value.clone() for name, value in single.state_dict().items()}
    for name in ("dynamic.theta.weight", "dynamic.phi.weight"):
        whole = torch.zeros(8, frames, 5)
        whole[:, reach] = state[name]
        state[name] = whole.flatten(1)
    layer.load_state_dict(state)
    torch.testing.assert_close(layer(x), single(x), atol=1e-6, rtol=1e-5)


def test_the_reach_of_a_network_is_that_of_its_layers_together() -> None:
    """In-layer, two in a block, out-layer: four graphs of three frames each; one frame sees none but itself."""
    assert moved(make_network(3), clips(15, channels=3), 7, 0.0) == [abs(t - 7) <= 4 for t in range(15)]
    alone, x = make_network(1), clips(channels=3)
    assert torch.equal(alone(x).flatten(0, 1), alone(x.flatten(0, 1)))


def test_a_clip_that_stands_still_is_the_single_pose() -> None:
    torch.manual_seed(0)
    lifter = Lifter(LifterConfig("dhcsf", 12, 1, options={"frames": 3})).eval()
    lifter.trunk.load_state_dict(make_network(3).state_dict())
    poses = torch.rand(4, 17, 2, generator=torch.Generator().manual_seed(1)) * 300
    still = poses[:, None].expand(-1, 3, -1, -1)
    for flip in (False, True):
        expected = lifter.lift(poses, flip=flip).keypoints
        torch.testing.assert_close(lifter.lift(still, flip=flip).keypoints, expected, atol=1e-2, rtol=1e-4)
    moving = still + torch.tensor([-9.0, 0.0, 9.0])[:, None, None] * torch.rand(17, 2)
    assert (lifter.lift(moving).keypoints - expected).abs().max() > 0.1
    with pytest.raises(ValueError, match=r"must be \(B, 17, 2\) or \(B, 3, 17, 2\) .* got shape \(4, 5, 17, 2\)"):
        lifter.lift(poses[:, None].expand(-1, 5, -1, -1))
    with pytest.raises(ValueError, match=r"must be \(B, 17, 2\) for"):
        Lifter(LifterConfig("gcn", 12, 1)).eval().lift(still)


def test_windows_stay_in_their_clip() -> None:
    around = clip_windows(CLIPS, torch.tensor([0, 3, 4, 6, 9]), 5)
    expected = [[0, 0, 0, 1, 2], [1, 2, 3, 3, 3], [4, 4, 4, 5, 6], [4, 5, 6, 7, 8], [7, 8, 9, 9, 9]]
    assert around.tolist() == expected
    with pytest.raises(ValueError, match="not in the order of their clips"):
        clip_windows(CLIPS.flip(0), torch.tensor([0]), 3)


def test_the_frames_of_a_row_are_of_one_person_before_one_camera() -> None:
    source = PhotographedPoses(BODIES, CameraConfig(), Augment3DConfig(flip_prob=0.5), frames=3)
    rows = torch.tensor([1, 5, 9])
    pairs = source.draw(rows, torch.Generator().manual_seed(0))
    torch.testing.assert_close(project(pairs.keypoints3d, pairs.intrinsics), pairs.keypoints2d, atol=1e-2, rtol=0)
    assert pairs.clip_index.tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 1]
    for values in (pairs.intrinsics, pairs.image_size):
        assert (values.view(3, 3, -1) == values.view(3, 3, -1)[:, :1]).all()
    # One camera and one factor of each bone: distances to the second frame are a similarity of those in the clip.
    around = clip_windows(CLIPS, rows, 3).flatten()
    thigh = BODIES.keypoints[around][:, 1] - BODIES.keypoints[around][:, 2]
    factor = (pairs.keypoints3d[:, 1] - pairs.keypoints3d[:, 2]).norm(dim=-1) / thigh.norm(dim=-1)
    other = (pairs.keypoints3d[:, 4] - pairs.keypoints3d[:, 5]).norm(dim=-1)
    other = other / (BODIES.keypoints[around][:, 4] - BODIES.keypoints[around][:, 5]).norm(dim=-1)
    alike = torch.stack([factor, other]).view(2, 3, 3)
    assert (alike - alike[:, :, :1]).abs().max() < 0.2
    hips = pairs.keypoints3d[:, 0].view(3, 3, 3)
    torch.testing.assert_close(hips, hips[:, 1:2].expand_as(hips), atol=0.05, rtol=0)


def test_a_batch_of_clips_has_the_middle_frame_as_its_target() -> None:
    space, noise = PoseSpace(kind="root3d"), DetectorNoise(H36M17, NoiseConfig.clean())
    source = PhotographedPoses(BODIES, CameraConfig(), frames=3)
    batch = lifting_batches(source, space, noise, 4)[1]
    assert batch.keypoints2d.shape == (4, 3, 17, 2)
    assert batch.visible.shape == (4, 3, 17)
    pairs = source.draw(torch.arange(10), torch.Generator().manual_seed(0))
    whole = LiftingBatch.of_pairs(pairs, space, noise, torch.Generator(), frames=3)
    middle = pairs.select(torch.arange(1, 30, 3))
    torch.testing.assert_close(whole.target_keypoints * 1000, middle.root_relative())
    assert torch.equal(whole.keypoints2d[:, 1], middle.keypoints2d)


def test_recorded_clips_are_mirrored_as_a_whole() -> None:
    pairs = PhotographedPoses(BODIES, CameraConfig()).draw(torch.arange(10), torch.Generator().manual_seed(0))
    rows = torch.arange(10)
    drawn = RecordedPairs(pairs, flip_prob=0.5, frames=3).draw(rows, torch.Generator().manual_seed(3))
    plain = pairs.select(clip_windows(CLIPS, rows, 3).flatten())
    own = (drawn.keypoints2d == plain.keypoints2d).all(dim=(1, 2)).view(10, 3)
    assert (own.all(dim=1) | ~own.any(dim=1)).all()
    assert 0 < int(own[:, 0].sum()) < 10
