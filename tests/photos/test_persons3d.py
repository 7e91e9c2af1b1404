"""Persons on photos with 3D joints: files keep them, joints project onto the photo, crops turn both alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_photos import write_people as write_plain_people

from pct.people.scene import GeneratedPersons
from pct.people.write import write_people
from pct.photos.crop import plain_crop
from pct.photos.person_views import Persons3D
from pct.photos.persons import CocoPersons, PersonPhoto
from pct.pose_space import PoseSpace
from pct.skeleton import COCO17, H36M16, H36M17
from pct.training.photos.augment import PhotoAugmentConfig, jitter_crop
from pct.training.photos.crops import PhotoBatch, crop_person, photo_targets

SPACE = PoseSpace("root3d", millimetres=1000.0)
LIMBS = [f"{side}_{name}" for side in ("left", "right") for name in ("shoulder", "elbow", "wrist", "hip", "knee")]


def far_person(seed: int = 0) -> PersonPhoto:
    """Return a person that is so far away that perspective is gone: a millimetre is a pixel."""
    rng = np.random.default_rng(seed)
    joints = rng.uniform(-40, 40, (17, 3)) + np.array([100, 120, 1e6])
    return PersonPhoto(
        image=np.zeros((240, 200, 3), np.uint8),
        bbox=np.array([60, 80, 80, 80], np.float32),
        keypoints=joints[:, :2].astype(np.float32),
        visibility=np.full(17, 2),
        area=4000.0,
        image_id=1,
        annotation_id=1,
        keypoints3d=joints.astype(np.float32),
        intrinsics=np.array([1e6, 1e6, 0, 0], np.float32),
    )


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "people"
    write_people(folder, GeneratedPersons(6, 3, image_size=64))
    return folder


def edit(people: Path, out: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    values = json.loads((people / "annotations.json").read_text())
    change(values)
    out.write_text(json.dumps(values))
    return out


def test_joints_that_coco_has_too_lie_where_its_labels_say() -> None:
    plain = GeneratedPersons(8, seed=3, image_size=64)
    source = Persons3D(plain)
    assert source.skeleton == H36M17
    hidden = 0
    for i in range(len(source)):
        ours, theirs = source[i], plain[i]
        for name in LIMBS:
            a, b = H36M17.keypoint_names.index(name), COCO17.keypoint_names.index(name)
            assert ours.visibility[a] == theirs.visibility[b]
            np.testing.assert_allclose(ours.keypoints[a], theirs.keypoints[b], atol=0.01)
            hidden += ours.visibility[a] == 1
    assert hidden > 0


def test_files_give_the_3d_joints_that_were_drawn(people: Path) -> None:
    plain = CocoPersons(people / "annotations.json", people / "images", need_3d=True)
    drawn = GeneratedPersons(6, seed=3, image_size=64)
    numbers = [person for person in range(len(plain)) if plain[person].annotation_id % 10 == 1]
    assert len(numbers) == 6
    for i, row in enumerate(numbers):
        person, truth = plain[row], drawn[i]
        assert person.keypoints3d is not None
        assert truth.keypoints3d is not None
        np.testing.assert_allclose(person.keypoints3d, truth.keypoints3d, atol=0.06)
        np.testing.assert_allclose(person.intrinsics, truth.intrinsics)
    ours, theirs = Persons3D(plain)[numbers[0]], Persons3D(drawn)[0]
    np.testing.assert_allclose(ours.keypoints, theirs.keypoints, atol=0.05)


def test_persons_without_3d_joints_are_left_out_only_where_these_are_needed(people: Path, tmp_path: Path) -> None:
    def change(values: dict[str, Any]) -> None:
        del values["annotations"][0]["keypoints3d"]
        values["annotations"][1]["keypoints3d"][3] = [1, 2, "x"]
        image_id = values["annotations"][-1]["image_id"]
        del next(image for image in values["images"] if image["id"] == image_id)["camera"]

    path, said = edit(people, tmp_path / "cut.json", change), list[str]()
    everyone = CocoPersons(path, people / "images", report=said.append)
    assert "annotation" in said[0]
    assert "keypoints3d must be 17 joints" in said[0]
    assert everyone[0].keypoints3d is None
    last = sum(a.image_id == everyone[len(everyone) - 1].image_id for a in everyone)
    some = CocoPersons(path, people / "images", report=said.append, need_3d=True)
    assert len(some) == len(everyone) - 2 - last
    assert f"{2 + last} persons have no keypoints3d" in said[-1]
    with pytest.raises(ValueError, match="has no keypoints3d, or its photo no camera"):
        Persons3D(everyone)[0]
    with pytest.raises(ValueError, match="and 3D joints"):
        CocoPersons(write_plain_people(tmp_path), tmp_path, report=said.append, need_3d=True)


def test_bad_cameras_are_refused(people: Path, tmp_path: Path) -> None:
    def change(values: dict[str, Any]) -> None:
        values["images"][2]["camera"]["fx"] = -1

    said: list[str] = []
    persons = CocoPersons(edit(people, tmp_path / "bad.json", change), people / "images", report=said.append)
    assert "expected numbers fx, fy (positive)" in said[0]
    assert 2 not in persons.poses.image_ids


def test_crops_turn_and_mirror_the_photo_and_the_pose_in_space_alike() -> None:
    """Without perspective, x and y in space are those in the crop but for scale and place."""
    config = PhotoAugmentConfig(rotation=60, rotation_prob=1, flip_prob=0.5, half_body_prob=0, outside_margin=9)
    flips = set()
    for seed in range(6):
        person = far_person(seed)
        plain = plain_crop(person.bbox, PoseSpace(), (64, 64))
        crop = jitter_crop(plain, person, H36M17, config, np.random.default_rng(seed))
        result = crop_person(person, H36M17, crop)
        assert result.keypoints3d is not None
        scale = np.sqrt(abs(np.linalg.det(crop.frame[:, :2])))
        flat, space = result.keypoints - result.keypoints[0], result.keypoints3d - result.keypoints3d[0]
        np.testing.assert_allclose(flat, space[:, :2] * scale, atol=1e-3)
        order = H36M17.flip_index if crop.flipped else slice(None)
        np.testing.assert_allclose(result.keypoints3d[:, 2], person.keypoints3d[order, 2])  # type: ignore[index]
        flips.add(crop.flipped)
    assert flips == {True, False}


@pytest.mark.parametrize("skeleton", [H36M17, H36M16])
def test_targets_are_all_joints_from_the_root_in_model_units(skeleton) -> None:
    person = far_person()
    crops = [crop_person(person, H36M17, plain_crop(person.bbox, PoseSpace(), (64, 64)))] * 3
    batch = PhotoBatch.from_crops(crops)
    targets, visible = photo_targets(batch, SPACE, skeleton)
    assert visible.all()
    for i, name in enumerate(skeleton.keypoint_names):
        truth = person.keypoints3d[H36M17.keypoint_names.index(name)] - person.keypoints3d[0]  # type: ignore[index]
        np.testing.assert_allclose(targets[1, i] * 1000, truth, atol=0.1)
    part = batch.rows(slice(1, 2)).to(torch.device("cpu"))
    assert part.keypoints3d is not None
    assert part.keypoints3d.shape == (1, 17, 3)
    assert torch.equal(photo_targets(batch, PoseSpace(), skeleton)[0], batch.keypoints)


def test_what_has_no_3d_joints_is_refused() -> None:
    with pytest.raises(ValueError, match=r"nose, left_eye.* of coco17 are not among them"):
        Persons3D(GeneratedPersons(1, seed=0), COCO17)
    person = far_person()
    crop = crop_person(person, H36M17, plain_crop(person.bbox, PoseSpace(), (64, 64)))
    batch = PhotoBatch.from_crops([crop])
    with pytest.raises(ValueError, match="without keypoints3d"):
        photo_targets(PhotoBatch(**{**vars(batch), "keypoints3d": None}), SPACE, H36M17)
