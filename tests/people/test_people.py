"""Generated people: scenes repeat, labels agree with geometry and with what is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from pct.people.scene import GeneratedPersons, Scene
from pct.skeleton import COCO17, H36M17


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [GeneratedPersons(40, 3).scene(i) for i in range(40)]


def test_scenes_are_a_function_of_seed_and_index(scenes: list[Scene]) -> None:
    persons = GeneratedPersons(10, seed=3)
    assert len(persons) == 10
    person, main = persons[5], scenes[5].persons[0]
    for name in ("image", "keypoints", "keypoints3d"):
        assert np.array_equal(getattr(person, name), getattr(main, name))
    assert (person.image_id, person.annotation_id) == (5, 51)
    with pytest.raises(IndexError):
        persons[10]
    for i in (31, 7):
        again = GeneratedPersons(50, 3).scene(i)
        assert again.jpeg == scenes[i].jpeg
        assert np.array_equal(again.persons[0].keypoints3d, scenes[i].persons[0].keypoints3d)
    assert GeneratedPersons(8, 4).scene(7).jpeg != scenes[7].jpeg


def test_keypoints_are_the_projected_3d_joints_and_boxes_hold_them_in_the_picture(scenes: list[Scene]) -> None:
    sides = [f"{s}_{n}" for s in ("left", "right") for n in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")]
    coco, h36m = ([skeleton.keypoint_names.index(name) for name in sides] for skeleton in (COCO17, H36M17))
    for person in (person for scene in scenes for person in scene.persons):
        focal, center = np.split(person.intrinsics, 2)
        pixels = person.keypoints3d[:, :2] / person.keypoints3d[:, 2:] * focal + center
        labelled = person.visibility[coco] > 0
        assert np.abs(person.keypoints[coco] - pixels[h36m])[labelled].max(initial=0) < 0.01
        low, high = person.bbox[:2], person.bbox[:2] + person.bbox[2:]
        assert (low >= 0).all()
        assert (high <= 256).all()
        known = person.keypoints[person.visibility > 0]
        assert (known > low - 1).all()
        assert (known < high + 1).all()
        assert 1 <= person.area <= person.bbox[2] * person.bbox[3]


def test_visibility_has_all_kinds_in_sensible_shares(scenes: list[Scene]) -> None:
    visibility = np.stack([scene.persons[0].visibility for scene in scenes])
    hidden = (visibility == 1).sum() / (visibility > 0).sum()
    assert 0.12 < hidden < 0.33
    assert 0.01 < (visibility == 0).mean() < 0.25
    assert ((visibility == 2).sum(axis=1) >= 5).all()


def test_sizes_other_than_the_default_show_the_same_world() -> None:
    for size in (64, 320):
        scene = GeneratedPersons(3, 3, size).scene(2)
        assert scene.persons[0].image.shape == (size, size, 3)
        person = scene.persons[0]
        assert (person.bbox[:2] + person.bbox[2:] <= size).all()
        assert 800 < np.ptp(person.keypoints3d, axis=0).max() < 2500
