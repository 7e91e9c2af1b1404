"""Photo batches: pure functions of the step, whatever the workers and processes; broken photos are reported."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import cv2
import pytest
import torch
from tiny_batches import Numbered
from tiny_photos import write_people

from pct import distributed
from pct.files.photo import PhotoError
from pct.photos.persons import CocoPersons
from pct.pose_space import PoseSpace
from pct.training.photos.augment import PhotoAugmentConfig
from pct.training.photos.batches import PhotoBatches, evaluation_batches, opencv_on_one_thread
from pct.training.photos.crops import PhotoBatch

SPACE, SIZE = PoseSpace(), (48, 32)
FULL = PhotoAugmentConfig(blur_prob=0.3, grid_unit=(20, 60))


def assert_equal(a: PhotoBatch, b: PhotoBatch) -> None:
    for field in fields(PhotoBatch):
        values = getattr(a, field.name), getattr(b, field.name)
        assert values == (None, None) or torch.equal(*values), field.name


def people(tmp_path: Path) -> CocoPersons:
    return CocoPersons(write_people(tmp_path), tmp_path)


def ids(batches: PhotoBatches, steps: range) -> list[int]:
    return [i for step in steps for i in batches[step].image_ids.tolist()]


def test_workers_change_nothing_wherever_they_start(tmp_path: Path) -> None:
    alone = PhotoBatches(people(tmp_path), SPACE, SIZE, 4, 7, FULL)
    helped = PhotoBatches(people(tmp_path), SPACE, SIZE, 4, 7, FULL, num_workers=2)
    for step in (5, 6, 7, 8, 2, 3):
        assert_equal(helped[step], alone[step])
    helped.close()
    assert_equal(helped[4], alone[4])
    helped.close()


def test_opencv_has_no_threads_while_workers_are_started() -> None:
    """They would be missing in the forked workers, which would wait for them for ever."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        with opencv_on_one_thread():
            assert cv2.getNumThreads() == 1
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


def test_each_process_reads_the_photos_of_its_own_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    source = Numbered(30)
    part = PhotoBatches(source, SPACE, SIZE, 6, 1, FULL)[7]
    assert sorted(source.read) == sorted(part.image_ids.tolist())


def test_without_augmentation_the_crops_are_those_of_evaluation(tmp_path: Path) -> None:
    source = people(tmp_path)
    batches = PhotoBatches(source, SPACE, SIZE, 4)
    plain = {
        int(i): row
        for batch in evaluation_batches(source, SPACE, SIZE, 1)
        for row, i in [(batch, batch.annotation_ids)]
    }
    for step in range(3):
        batch = batches[step]
        for row, annotation_id in enumerate(batch.annotation_ids.tolist()):
            assert_equal(batch.rows(slice(row, row + 1)), plain[annotation_id])


def test_evaluation_holds_every_person_in_order(tmp_path: Path) -> None:
    source = people(tmp_path)
    batches = list(evaluation_batches(source, SPACE, SIZE, 5))
    assert [len(batch) for batch in batches] == [5, 5, 2]
    assert torch.equal(torch.cat([b.annotation_ids for b in batches]), source.poses.annotation_ids)
    keypoints = torch.cat([SPACE.restore(b.keypoints, b.bbox) for b in batches])
    visible = source.poses.visible
    torch.testing.assert_close(keypoints[visible], source.poses.keypoints[visible], atol=1e-3, rtol=0)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_broken_photo_is_reported_once_and_others_take_its_place(num_workers: int) -> None:
    said: list[str] = []
    broken = (2, 3, 9)
    batches = PhotoBatches(Numbered(12, broken), SPACE, SIZE, 4, num_workers=num_workers, report=said.append)
    seen = ids(batches, range(12))
    batches.close()
    assert len(seen) == 48
    assert not set(seen) & set(broken)
    assert sorted(said) == ["1.jpg: broken; its persons are skipped", "4.jpg: broken; its persons are skipped"]
    assert seen == ids(PhotoBatches(Numbered(12, broken), SPACE, SIZE, 4, report=said.append), range(12))


def test_evaluation_skips_persons_of_broken_photos() -> None:
    said: list[str] = []
    batches = evaluation_batches(Numbered(9, (0, 1, 2, 3, 7)), SPACE, SIZE, 3, report=said.append)
    assert [batch.image_ids.tolist() for batch in batches] == [[4, 5], [6, 8]]
    assert said == [f"{i}.jpg: broken; its persons are skipped" for i in (0, 1, 3)]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_set_without_a_readable_photo_is_an_error(num_workers: int) -> None:
    batches = PhotoBatches(Numbered(6, tuple(range(6))), SPACE, SIZE, 2, num_workers=num_workers, report=lambda _: None)
    with pytest.raises(PhotoError, match=r"jpg: broken; .* 20 persons"):
        batches[0]
    batches.close()
