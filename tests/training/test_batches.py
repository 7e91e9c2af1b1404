"""Batches: pure functions of the step, every pose once an epoch, the parts of all processes make the whole."""

from __future__ import annotations

import pytest
import torch

from pct import distributed
from pct.pose_space import PoseSpace
from pct.skeleton import COCO17
from pct.training.batches import DrawnBatches
from pct.training.tokenizer.augment import AugmentConfig, PoseAugment, pose_batches

PLAIN = AugmentConfig(plain_share=1, flip_prob=0, mask_share=0, outside_margin=1e9)


def batches(n: int = 50, batch_size: int = 8, seed: int = 0, config: AugmentConfig | None = None) -> DrawnBatches:
    """Poses whose every coordinate is their row, so that a plain batch tells which rows it holds."""
    keypoints = torch.arange(n).float()[:, None, None].expand(n, 17, 2)
    if config is None:
        config, keypoints = AugmentConfig(), torch.randn(n, 17, 2, generator=torch.Generator().manual_seed(0)) * 0.3
    augment = PoseAugment(COCO17, PoseSpace(), config)
    return pose_batches(keypoints, torch.ones(n, 17, dtype=torch.bool), augment, batch_size, seed)


def rows(source: DrawnBatches, step: int) -> list[int]:
    return source[step].keypoints[:, 0, 0].int().tolist()


def test_a_step_gives_the_same_batch_in_any_order_and_process() -> None:
    forwards, backwards = batches(), batches()
    expected = [forwards[step] for step in range(20)]
    for step in reversed(range(20)):
        for name in ("keypoints", "visible", "encoder_visible"):
            assert torch.equal(getattr(backwards[step], name), getattr(expected[step], name))
    assert not torch.equal(expected[0].keypoints, expected[6].keypoints)


def test_the_global_random_state_is_neither_read_nor_moved() -> None:
    torch.manual_seed(1)
    first = batches()[3].keypoints
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(batches()[3].keypoints, first)
    torch.manual_seed(1)
    batches()[3]
    assert torch.equal(torch.get_rng_state(), state)


def test_an_epoch_holds_a_pose_at_most_once_and_each_epoch_shuffles_anew() -> None:
    source = batches(50, 8, config=PLAIN)
    assert source.steps_per_epoch == 6
    epochs = [[row for step in range(6 * e, 6 * e + 6) for row in rows(source, step)] for e in range(4)]
    for epoch in epochs:
        assert len(epoch) == len(set(epoch)) == 48
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert len({tuple(sorted(epoch)) for epoch in epochs}) > 1, "not always the same poses are left over"


def test_seeds_give_other_orders_and_other_augmentation() -> None:
    assert rows(batches(config=PLAIN, seed=0), 0) != rows(batches(config=PLAIN, seed=1), 0)
    assert not torch.equal(batches(seed=0)[0].keypoints, batches(seed=1)[0].keypoints)


def test_one_pose_is_augmented_anew_every_step() -> None:
    source = batches(1, 4)
    assert not torch.equal(source[0].keypoints, source[1].keypoints)
    assert not torch.equal(source[0].keypoints[0], source[0].keypoints[1])


def test_a_set_smaller_than_a_batch_fills_it_by_repetition() -> None:
    source = batches(3, 8, config=PLAIN)
    assert source.steps_per_epoch == 1
    for step in range(3):
        counts = torch.bincount(torch.tensor(rows(source, step)), minlength=3)
        assert sorted(counts.tolist()) == [2, 3, 3]


@pytest.mark.parametrize("processes", [2, 4])
def test_the_parts_of_all_processes_make_the_whole(monkeypatch: pytest.MonkeyPatch, processes: int) -> None:
    whole = [batches()[step] for step in (0, 9)]
    monkeypatch.setattr(distributed, "world_size", lambda: processes)
    parts = []
    for rank in range(processes):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts.append([batches()[step] for step in (0, 9)])
    for place in range(2):
        for name in ("keypoints", "visible", "encoder_visible"):
            joined = torch.cat([getattr(part[place], name) for part in parts])
            assert torch.equal(joined, getattr(whole[place], name))


def test_bad_sizes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no poses to train on"):
        batches(0)
    with pytest.raises(ValueError, match="batch_size 0 must be positive"):
        batches(batch_size=0)
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    with pytest.raises(ValueError, match=r"batch_size 8 .* divide by the 3 processes"):
        batches(batch_size=8)
