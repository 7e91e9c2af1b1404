"""The head that finds joints first: sure heatmaps give the tokens of their pose, doubtful ones are corrected."""

from __future__ import annotations

import math

import torch
from tiny_photo_models import BACKBONE, HEAD, make_body_tokenizer, make_coco_tokenizer

from pct.layers.cells import CellGrid
from pct.layers.heatmap_head import HeatmapHead
from pct.models.classifier import ClassifierConfig, PoseClassifier
from pct.models.joint_head import JointMaps, JointTokenHead, _Lift


def make_head(encode: bool = True, grid: tuple[int, int] = (4, 4)) -> JointTokenHead:
    tokenizer = make_coco_tokenizer()
    torch.manual_seed(0)
    return JointTokenHead(
        12,
        CellGrid((grid[0] * 2, grid[1] * 2), (grid[0] * 8, grid[1] * 8)),
        grid,
        HeatmapHead(12, 17, 1, 8),
        17,
        6,
        tokenizer.quantizer.codebook,
        tokenizer.encode_whole if encode else None,
        width=16,
        num_blocks=1,
    ).eval()


def trust(head: JointTokenHead, biases: list[float]) -> None:
    """Fix how the head weighs four peaks and its own guess."""
    with torch.no_grad():
        head.trust.bias.copy_(torch.tensor(biases))


def poses(count: int = 3) -> torch.Tensor:
    return (torch.rand(count, 17, 2, generator=torch.Generator().manual_seed(4)) * 2 - 1) * 0.7


def test_bells_that_are_fully_trusted_give_the_tokens_of_their_pose() -> None:
    head, tokenizer, keypoints = make_head(), make_coco_tokenizer(), poses()
    trust(head, [50.0, 0.0, 0.0, 0.0, 0.0])
    reading = head.read(torch.randn(3, 16, 12), JointMaps(head.cells.bells(keypoints, sigma=1.0)))
    torch.testing.assert_close(reading.estimate, keypoints, atol=1e-3, rtol=0)
    expected = head.logits._warp(tokenizer.encode_whole(keypoints))
    nearest = torch.cdist(expected, head.logits.entries).argmin(dim=-1)
    assert (reading.logits.argmax(dim=-1) == nearest).float().mean() > 0.9


def test_the_second_peak_can_be_chosen() -> None:
    head, keypoints = make_head(), poses()
    away = -keypoints
    far = (keypoints - away).norm(dim=-1) > 0.6
    bells = torch.maximum(head.cells.bells(keypoints, sigma=0.7), 0.6 * head.cells.bells(away, sigma=0.7))
    trust(head, [0.0, 50.0, 0.0, 0.0, 0.0])
    estimate = head.read(torch.randn(3, 16, 12), JointMaps(bells)).estimate
    torch.testing.assert_close(estimate[far], away[far], atol=0.02, rtol=0)


def test_a_head_that_trusts_nothing_does_not_see_the_tops() -> None:
    head, keypoints = make_head(), poses()
    trust(head, [0.0, 0.0, 0.0, 0.0, 50.0])
    for part in (head.seen, head.evidence):
        torch.nn.init.zeros_(part.weight)
    bells = [head.cells.bells(k, sigma=1.0) for k in (keypoints, -keypoints)]
    first, second = (head.read(torch.ones(3, 16, 12), JointMaps(b)).logits for b in bells)
    torch.testing.assert_close(first, second)


def test_evidence_comes_from_under_the_heatmaps() -> None:
    head = make_head()
    keypoints = poses()
    heatmaps = head.cells.bells(keypoints, sigma=0.7)
    weights = head._under((heatmaps * 40).flatten(2).softmax(dim=-1), heatmaps)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(3, 17))
    cells = CellGrid(head.grid, (32, 32)).to_cells(keypoints).round().clamp(0, 3).long()
    at_joint = weights.gather(-1, (cells[..., 1] * 4 + cells[..., 0])[..., None])
    assert at_joint.mean() > 0.5


def test_every_weight_gets_a_gradient_and_the_tops_carry_none() -> None:
    head = make_head().train()
    features = torch.randn(4, 16, 12)
    maps = head.look(features)
    (head.read(features, maps).logits.square().sum() + maps.heatmaps.square().sum()).backward()
    assert not [name for name, p in head.named_parameters() if p.grad is None]


def test_without_an_encoder_the_bells_are_learned() -> None:
    head = make_head(encode=False)
    features = torch.randn(4, 16, 12, generator=torch.Generator().manual_seed(1))
    labels = torch.randint(16, (4, 6), generator=torch.Generator().manual_seed(2))
    optimizer = torch.optim.AdamW(head.parameters(), lr=5e-3)
    for _ in range(120):
        loss = torch.nn.functional.cross_entropy(head(features).flatten(0, 1), labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (head(features).argmax(dim=-1) == labels).float().mean() > 0.9


def test_maps_that_are_not_square() -> None:
    head = make_head(grid=(4, 3))
    features = torch.randn(2, 12, 12)
    assert head.look(features).heatmaps.shape == (2, 17, 8, 6)
    assert head(features).shape == (2, 6, 16)


def test_a_classifier_of_3d_tokens_lifts_what_it_finds_on_the_photo() -> None:
    model = PoseClassifier(ClassifierConfig(BACKBONE, HEAD), make_body_tokenizer()).eval()
    output = model(torch.randn(2, 3, 32, 32))
    assert output.keypoints.shape == (2, 17, 3)
    assert output.heatmaps.shape[:2] == (2, 17)
    assert output.estimate.shape == (2, 17, 3)
    assert (output.estimate[:, 0] == 0).all()
    assert not [name for name, p in model.head.named_parameters() if p.requires_grad and not p.isfinite().all()]


def test_lifted_joints_are_where_the_photo_shows_them_but_for_size_and_depth() -> None:
    lift, x, places = _Lift(16, root=3), torch.randn(2, 17, 16), poses(2)
    torch.nn.init.zeros_(lift.offset.weight)
    torch.nn.init.constant_(lift.size.bias, math.log(1.5))
    joints = lift(x, places)
    torch.testing.assert_close(joints[..., :2], 1.5 * (places - places[:, 3:4]))
    assert (joints[..., 2] == 0).all()
