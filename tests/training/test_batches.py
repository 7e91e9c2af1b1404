"""Batches of poses, pairs and photos: pure functions of the step, every row once an epoch, parts that make a whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_batches import Numbered
from torch import Tensor

from pct import distributed
from pct.lifting.detector_noise import DetectorNoise, NoiseConfig
from pct.lifting.pairs import photograph
from pct.people.poses import generate_poses3d
from pct.pose_space import PoseSpace
from pct.skeleton import COCO17, H36M17
from pct.training.lifting.data import RecordedPairs, lifting_batches
from pct.training.photos.augment import PhotoAugmentConfig
from pct.training.photos.batches import PhotoBatches
from pct.training.tokenizer.augment import AugmentConfig, PoseAugment, pose_batches

# What is given to the encoder is drawn by chance; where the joints are tells the row.
STILL = AugmentConfig(plain_share=1, flip_prob=0, outside_margin=1e9)


def poses(n: int = 26, batch_size: int = 4, seed: int = 0) -> Any:
    keypoints = torch.arange(n).float()[:, None, None].expand(n, 17, 2)
    augment = PoseAugment(COCO17, PoseSpace(), STILL)
    return pose_batches(keypoints, torch.ones(n, 17, dtype=torch.bool), augment, batch_size, seed)


def pairs(n: int = 26, batch_size: int = 4, seed: int = 0) -> Any:
    table = photograph(generate_poses3d(max(n, 1), seed=0), torch.Generator().manual_seed(0)).select(torch.arange(n))
    table = replace(table, image_size=torch.arange(n).float()[:, None].expand(n, 2))
    noise = DetectorNoise(H36M17, NoiseConfig(missing_share=1.0))
    return lifting_batches(RecordedPairs(table), PoseSpace(kind="root3d"), noise, batch_size, seed)


def photos(n: int = 26, batch_size: int = 4, seed: int = 0) -> Any:
    return PhotoBatches(Numbered(n), PoseSpace(), (48, 32), batch_size, seed, PhotoAugmentConfig(blur_prob=0.3))


Make = Callable[..., Any]
KINDS = pytest.mark.parametrize("make", [poses, pairs, photos], ids=lambda make: make.__name__)
ROWS: dict[Make, Callable[[Any], Tensor]] = {
    poses: lambda batch: batch.keypoints[:, 0, 0],
    pairs: lambda batch: batch.image_size[:, 0],
    photos: lambda batch: batch.image_ids,
}


def rows(make: Make, batch: Any) -> list[int]:
    return ROWS[make](batch).int().tolist()


def same(first: Any, second: Any) -> bool:
    columns = [(getattr(first, field.name), getattr(second, field.name)) for field in fields(first)]
    return all((a is None and b is None) or torch.equal(a, b) for a, b in columns)


@KINDS
def test_a_step_gives_the_same_batch_in_any_order_whatever_the_global_state(make: Make) -> None:
    forwards = make()
    expected = [forwards[step] for step in range(8)]
    np.random.seed(3)
    torch.manual_seed(3)
    backwards = make()
    assert all(same(backwards[step], expected[step]) for step in reversed(range(8)))
    before = torch.get_rng_state()
    make()[3]
    assert torch.equal(torch.get_rng_state(), before)
    assert not same(expected[0], expected[6]), "the second epoch draws anew"
    other = make(seed=1)[0]
    assert not same(other, expected[0])
    assert rows(make, other) != rows(make, expected[0])


@KINDS
@pytest.mark.parametrize("processes", [2, 4])
def test_the_parts_of_all_processes_make_the_whole(monkeypatch: pytest.MonkeyPatch, make: Make, processes: int) -> None:
    whole = make()[9]
    monkeypatch.setattr(distributed, "world_size", lambda: processes)
    size = 4 // processes
    for rank in range(processes):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        assert same(make()[9], whole.rows(slice(size * rank, size * rank + size)))


@KINDS
def test_an_epoch_holds_a_row_at_most_once_and_each_epoch_shuffles_anew(make: Make) -> None:
    source = make()
    assert source.steps_per_epoch == 6
    epochs = [[row for step in range(6 * e, 6 * e + 6) for row in rows(make, source[step])] for e in range(4)]
    for epoch in epochs:
        assert len(epoch) == len(set(epoch)) == 24
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert len({tuple(sorted(epoch)) for epoch in epochs}) > 1, "not always the same rows are left over"


@KINDS
def test_a_set_smaller_than_a_batch_fills_it_and_changes_each_copy_anew(make: Make) -> None:
    source = make(3, 8)
    assert source.steps_per_epoch == 1
    for step in range(3):
        counts = torch.bincount(torch.tensor(rows(make, source[step])), minlength=3)
        assert sorted(counts.tolist()) == [2, 3, 3]
    one = make(1, 2)
    first, second = one[0], one[1]
    assert not same(first, second)
    assert not same(first.rows(slice(0, 1)), first.rows(slice(1, 2)))


@KINDS
def test_bad_sizes_are_refused(monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    with pytest.raises(ValueError, match="no poses to train on"):
        make(0)
    with pytest.raises(ValueError, match="batch_size 0 must be positive"):
        make(batch_size=0)
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    with pytest.raises(ValueError, match=r"batch_size 8 .* divide by the 3 processes"):
        make(batch_size=8)
