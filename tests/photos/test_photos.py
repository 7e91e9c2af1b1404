"""Persons on photos: what a COCO file says arrives with the right photo; what is missing or wrong is reported once."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_photos import write_people

from pct.files.photo import PhotoError, read_photo
from pct.files.pose_files import load_keypoint_file
from pct.photos.persons import CocoPersons
from pct.skeleton import COCO17


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    values = json.loads(path.read_text())
    edit(values)
    path.write_text(json.dumps(values))


def persons(path: Path, **options) -> tuple[CocoPersons, list[str]]:
    said: list[str] = []
    return CocoPersons(path, path.parent, report=said.append, **options), said


def test_persons_are_those_of_the_file_with_their_photos(tmp_path: Path) -> None:
    path = write_people(tmp_path)
    source, said = persons(path)
    table, raw = load_keypoint_file(path), json.loads(path.read_text())["annotations"]
    assert said == []
    assert len(source) == len(table) == 12
    assert source.skeleton == COCO17
    for i in (11, 0, 5, 4, 5):
        person = source[i]
        np.testing.assert_array_equal(person.image, read_photo(tmp_path / f"{1 + i // 2}.png"))
        np.testing.assert_array_equal(person.keypoints, table.keypoints[i])
        np.testing.assert_array_equal(person.bbox, table.bbox[i])
        assert person.visibility.tolist() == raw[i]["keypoints"][2::3]
        assert person.visibility.dtype == np.int64
        assert (person.area, person.image_id, person.annotation_id) == (raw[i]["area"], 1 + i // 2, 101 + i)
    with pytest.raises(ValueError, match="read-only"):
        source[0].image[0, 0] = 0


def test_missing_photos_are_reported_once_and_their_persons_skipped(tmp_path: Path) -> None:
    path = write_people(tmp_path)
    (tmp_path / "2.png").unlink()
    (tmp_path / "5.png").unlink()
    source, (sentence,) = persons(path)
    assert "2 photos are missing (2.png, 5.png); their 4 persons are skipped" in sentence
    assert sorted({source[i].image_id for i in range(len(source))}) == [1, 3, 4, 6]
    np.testing.assert_array_equal(source[2].image, read_photo(tmp_path / "3.png"))
    with pytest.raises(ValueError, match=r"no person with a photo in .*elsewhere"):
        CocoPersons(path, tmp_path / "elsewhere", report=lambda _: None)


def test_a_broken_photo_and_one_of_another_size_than_stated_are_errors_when_read(tmp_path: Path) -> None:
    path = write_people(tmp_path)
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:2000])
    Image.new("RGB", (40, 30)).save(tmp_path / "2.png")
    source, said = persons(path)
    assert said == []
    with pytest.raises(PhotoError, match=r"1\.png: the photo is damaged or truncated"):
        source[0]
    with pytest.raises(PhotoError, match=r"2\.png: the photo has 40x30 pixels; the annotation file says 48x48"):
        source[2]
    assert source[4].image_id == 3


def test_sizes_that_are_not_stated_are_the_photos_own(tmp_path: Path) -> None:
    path = write_people(tmp_path, num_photos=2)
    Image.new("RGB", (40, 30)).save(tmp_path / "1.png")

    def edit(values: dict[str, Any]) -> None:
        for image in values["images"]:
            del image["width"], image["height"]
        values["annotations"][0]["bbox"] = [41, 5, 30, 30]

    change(path, edit)
    source, (sentence,) = persons(path)
    assert source.poses.annotation_ids.tolist() == [102, 103, 104]
    assert "annotation 101: bbox [41, 5, 30, 30] lies outside image 1 of 40x30 pixels" in sentence


@pytest.mark.parametrize(
    ("which", "entry", "lost", "reason"),
    [
        ("annotations", {"bbox": [48, 0, 9, 9]}, {102}, "annotation 102: bbox [48, 0, 9, 9] lies outside image 1"),
        ("annotations", {"bbox": [0, 50, 90, 90]}, {102}, "lies outside image 1 of 48x48"),
        ("annotations", {"bbox": [-90, 0, 90, 90]}, {102}, "lies outside image 1 of 48x48"),
        ("annotations", {"bbox": [0, -90, 90, 90]}, {102}, "lies outside image 1 of 48x48"),
        ("annotations", {"bbox": [-30.0, 40, 31, 90]}, set(), ""),
        ("annotations", {"bbox": [1, 2, 0, 5]}, {102}, "annotation 102: bbox is [1.0, 2.0, 0.0, 5.0]"),
        ("annotations", {"image_id": 99}, {102}, "1 photos are missing (image 99 without an entry)"),
        ("annotations", {"iscrowd": 1}, {102}, "left out 1 (crowds)"),
        ("images", {"id": "x"}, {103, 104}, "integer id"),
        ("images", {"id": True}, {103, 104}, "integer id"),
        ("images", {"file_name": 3}, {103, 104}, "file_name 3"),
        ("images", {"file_name": "\ud800.jpg"}, {103, 104}, "expected the name of its photo"),
        ("images", {"width": -1}, {103, 104}, "width and height"),
    ],
)
def test_what_is_wrong_with_the_second_entry_is_reported_and_its_persons_skipped(
    tmp_path: Path, which: str, entry: dict[str, Any], lost: set[int], reason: str
) -> None:
    path = write_people(tmp_path)
    change(path, lambda values: values[which][1].update(entry))
    source, said = persons(path)
    assert set(range(101, 113)) - set(source.poses.annotation_ids.tolist()) == lost
    assert bool(said) == bool(lost)
    assert not said or reason in said[0]


def test_persons_with_few_labelled_joints_are_left_out(tmp_path: Path) -> None:
    path = write_people(tmp_path)
    labelled = sum(v > 0 for v in json.loads(path.read_text())["annotations"][0]["keypoints"][2::3])
    one = [0] * 16 + [1]
    change(path, lambda values: values["annotations"][1]["keypoints"].__setitem__(slice(2, None, 3), one))
    assert len(persons(path)[0]) == 12
    assert len(persons(path, min_keypoints=2)[0]) == 11
    with pytest.raises(ValueError, match=f"at least {labelled + 1} labelled joints"):
        persons(path, min_keypoints=labelled + 1)


def test_of_two_image_entries_with_one_id_none_counts_unless_they_are_alike(tmp_path: Path) -> None:
    path = write_people(tmp_path)
    change(path, lambda values: values["images"].append(values["images"][0]))
    assert len(persons(path)[0]) == 12
    change(path, lambda values: values["images"].append({**values["images"][1], "id": 1}))
    source, said = persons(path)
    assert 1 not in source.poses.image_ids
    assert "image 1 is there twice, and the entries differ" in said[0]


def test_cached_bytes_give_the_same_photos_without_the_files_also_in_a_worker_process(tmp_path: Path) -> None:
    path = write_people(tmp_path)
    source, _ = persons(path, cache=True)
    before = [source[i].image for i in range(12)]
    source = pickle.loads(pickle.dumps(source))
    for file in tmp_path.glob("*.png"):
        file.unlink()
    for i in (0, 5, 11):
        np.testing.assert_array_equal(source[i].image, before[i])


@pytest.mark.shared
def test_the_data_packs_photos_are_all_read(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "coco_photos"
    said: list[str] = []
    source = CocoPersons(folder / "annotations.json", folder / "images", report=said.append)
    assert said == []
    assert len(source) == 1012
    assert int((source.poses.visible.sum(dim=1) >= 8).sum()) == 754
    for i in range(0, len(source), 50):
        person = source[i]
        known = person.keypoints[person.visibility > 0]
        assert (known >= 0).all()
        assert (known < person.image.shape[1::-1]).all()
    assert torch.equal(source.poses.visible, torch.from_numpy(source.visibility) > 0)
