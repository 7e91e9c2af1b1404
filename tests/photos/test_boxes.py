"""Detected boxes: what a COCO results file says, less what cannot be cropped, which is reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_photos import write_people

from pct.files.photo import read_photo
from pct.photos.detection.boxes import load_photo_boxes
from pct.photos.persons import DetectedPersons, Detections
from pct.skeleton import COCO17


def detection(image_id: int = 1, **changes) -> dict[str, Any]:
    return {"image_id": image_id, "category_id": 1, "bbox": [4.5, 5, 20, 30], "score": 0.75, **changes}


def load(folder: Path, entries: object, **options) -> tuple[Detections, list[str]]:
    said: list[str] = []
    path = folder / "boxes.json"
    path.write_text(json.dumps(entries))
    return load_photo_boxes(path, report=said.append, **options).detections, said


def test_boxes_come_in_file_order_less_other_categories_and_low_scores(tmp_path: Path) -> None:
    entries = [detection(i, bbox=[i, 2.5, 3, 4], score=1 / i) for i in (3, 1, 2)]
    found, said = load(tmp_path, entries)
    assert (said, found.image_ids.tolist()) == ([], [3, 1, 2])
    assert found.bbox.tolist() == [[3, 2.5, 3, 4], [1, 2.5, 3, 4], [2, 2.5, 3, 4]]
    np.testing.assert_allclose(found.scores, [1 / 3, 1, 1 / 2], rtol=1e-6)
    entries = [detection(1), detection(2, category_id=3), detection(3, score=0.2), detection(4, score=0.5)]
    found, said = load(tmp_path, entries, min_score=0.5)
    assert found.image_ids.tolist() == [1, 4]
    assert load(tmp_path, entries, category="3")[0].image_ids.tolist() == [2]
    assert said[0].endswith(": left out 1 boxes (category without a name (id 3): 1)")
    found, said = load(tmp_path, [])
    assert (len(found), found.bbox.shape, said) == (0, (0, 4), [])


@pytest.mark.parametrize(
    ("text", "options", "reason"),
    [
        (json.dumps([detection(category_id=0)]), {}, r"none of 1 .*, category 1 \(.*id 0\): 1\); .*--category"),
        (json.dumps([detection()]), {"category": "person"}, "name no categories; choose 'person' by its id"),
        ("5", {}, "expected a list, as COCO results are"),
        ('"text"', {}, "expected a list, as COCO results are"),
        (json.dumps([detection(1), detection(2)])[:-20], {}, "malformed or truncated JSON after 1 entries"),
    ],
)
def test_files_without_boxes_of_persons_are_refused(tmp_path: Path, text: str, options: dict, reason: str) -> None:
    (tmp_path / "boxes.json").write_text(text)
    with pytest.raises(ValueError, match=reason):
        load_photo_boxes(tmp_path / "boxes.json", report=lambda _: None, **options)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bbox": [1, 2, 0, 4]}, "must be positive"),
        ({"bbox": [1, 2, 3, -4]}, "must be positive"),
        ({"bbox": [1, 2, 3]}, "4 finite numbers"),
        ({"bbox": [1, 2, 3, float("nan")]}, "4 finite numbers"),
        ({"bbox": None}, "4 finite numbers"),
        ({"score": "high"}, "score is 'high'"),
        ({"score": float("nan")}, "score is None"),
        ({"score": 1e300}, "score is 1e+300; it must be a finite number"),
        ({"bbox": [0.1, 0.2, 0.5, 0.5]}, "shares of the image"),
        ({"bbox": [1e7, 2, 3, 4]}, "4 finite numbers"),
        ({"category_id": "1"}, "category_id is '1'"),
        ({"category_id": True}, "category_id is True"),
        ({"image_id": "1"}, "image_id is '1'"),
        ({"image_id": True}, "image_id is True"),
        (None, "'7' is not a detection"),
    ],
)
def test_bad_entries_are_reported_by_number_and_skipped(
    tmp_path: Path, changes: dict[str, Any] | None, reason: str
) -> None:
    bad = 7 if changes is None else detection(2) | changes
    found, said = load(tmp_path, [detection(1), bad, detection(3)])
    assert found.image_ids.tolist() == [1, 3]
    assert len(said) == 1
    assert "boxes.json: entry 1: " in said[0]
    assert reason in said[0]


def test_persons_have_their_photo_and_no_labels(tmp_path: Path) -> None:
    people = write_people(tmp_path)
    found, _ = load(tmp_path, [detection(2), detection(1, bbox=[40, 40, 30, 30])])
    persons = DetectedPersons(found, people, tmp_path, COCO17)
    assert len(persons) == 2
    person = persons[1]
    np.testing.assert_array_equal(person.image, read_photo(tmp_path / "1.png"))
    assert person.bbox.tolist() == [40, 40, 30, 30]
    assert person.area == pytest.approx(0.52 * 900)
    assert person.keypoints.shape == (17, 2)
    assert not person.keypoints.any()
    assert not person.visibility.any()
    assert (person.image_id, person.annotation_id) == (1, 1)


def test_boxes_outside_or_without_their_photo_are_reported_and_skipped(tmp_path: Path) -> None:
    people = write_people(tmp_path)
    (tmp_path / "3.png").unlink()
    entries = [detection(1, bbox=[60, 0, 5, 5]), detection(3), detection(77), detection(2, score=0.9)]
    found, _ = load(tmp_path, entries)
    said: list[str] = []
    persons = DetectedPersons(found, people, tmp_path, COCO17, report=said.append)
    assert persons.poses.annotation_ids.tolist() == [3]
    assert persons.detections.scores.tolist() == [np.float32(0.9)]
    assert persons[0].annotation_id == 3
    assert len(said) == 2
    assert "2 photos are missing (3.png, image 77 without an entry)" in said[0]
    assert "detection 0: bbox [60.0, 0.0, 5.0, 5.0] lies outside image 1 of 48x48 pixels" in said[1]
    assert len(DetectedPersons(found.select(np.zeros(4, bool)), people, tmp_path, COCO17)) == 0
