"""Boxes of persons from files: what they say, less what is bad, matched with the photos named on a command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_photos import write_people

from pct.files.photo import read_photo
from pct.files.photo_inputs import PhotoInput
from pct.photos.detection.boxes import DetectedPersons, PhotoBoxes, load_photo_boxes
from pct.skeleton import COCO17


def detection(image_id: int = 1, **changes) -> dict[str, Any]:
    return {"image_id": image_id, "category_id": 1, "bbox": [4.5, 5, 20, 30], "score": 0.75, **changes}


def labelled(*names: str, **changes) -> dict[str, Any]:
    """An annotation file of images 1, 2, ... with a box on the first."""
    images = [{"id": number, "file_name": name} for number, name in enumerate(names, 1)]
    return {"images": images, "annotations": [{"id": 1, **detection()}], **changes}


def load(folder: Path, content: object, **options) -> tuple[PhotoBoxes, list[str]]:
    said: list[str] = []
    path = folder / "boxes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return load_photo_boxes(path, report=said.append, **options), said


def match(folder: Path, content: object, *names: str) -> dict[str, int]:
    return load(folder, content)[0].match([PhotoInput(folder / name, name, False) for name in names])


def test_boxes_come_in_file_order_less_other_categories_and_low_scores(tmp_path: Path) -> None:
    entries = [detection(i, bbox=[i, 2.5, 3, 4], score=1 / i) for i in (3, 1, 2)]
    found, said = load(tmp_path, entries)
    assert (said, found.image_ids.tolist()) == ([], [3, 1, 2])
    assert found.bbox.tolist() == [[3, 2.5, 3, 4], [1, 2.5, 3, 4], [2, 2.5, 3, 4]]
    np.testing.assert_allclose(found.scores, [1 / 3, 1, 1 / 2], rtol=1e-6)
    assert found.of(2).bbox.tolist() == [[2, 2.5, 3, 4]]
    entries = [detection(1), detection(2, category_id=3), detection(3, score=0.2), detection(4, score=0.5)]
    boxes, said = load(tmp_path, entries, min_score=0.5)
    assert boxes.image_ids.tolist() == [1, 4]
    assert load(tmp_path, entries, category="3")[0].image_ids.tolist() == [2]
    assert said[0].endswith(": left out 1 boxes (category without a name (id 3): 1)")


def test_no_box_at_all_is_a_result_of_a_detector(tmp_path: Path) -> None:
    boxes, said = load(tmp_path, [])
    assert (len(boxes), boxes.bbox.shape, len(boxes.of(3)), said) == (0, (0, 4), 0, [])
    assert match(tmp_path, [], "3.jpg") == {"3.jpg": 3}


def test_boxes_of_annotation_files_are_those_of_persons(tmp_path: Path) -> None:
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]},
        {"id": 2, "image_id": 1, "category_id": 18, "bbox": [1, 2, 3, 4]},
        {"id": 3, "image_id": 1, "category_id": 1, "iscrowd": 1, "bbox": [1, 2, 3, 4]},
        {"id": 4, "image_id": 2, "category_id": 1, "bbox": [1, 2, 3]},
        {"id": 5, "image_id": 2, "category_id": 1, "bbox": [4, 5, 6, 7]},
        "nonsense",
    ]
    categories = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]
    content = labelled("val/beach.jpg", "7.jpg", annotations=annotations, categories=categories)
    boxes, said = load(tmp_path, content)
    assert boxes.of(1).bbox.tolist() == [[1, 2, 3, 4]]
    assert boxes.of(2).bbox.tolist() == [[4, 5, 6, 7]]
    assert boxes.of(2).scores.tolist() == [1]
    assert [report.split(": ")[1][:12] for report in said] == ["entry 3", "entry 5", "left out 2 b"]
    assert match(tmp_path, content, "beach.jpg", "7.jpg", "other.jpg") == {"beach.jpg": 1, "7.jpg": 2}


@pytest.mark.parametrize(
    ("content", "photos", "ids"),
    [
        # By the number in the name.
        ([detection(139), detection(7)], ("000139.jpg", "beach.jpg"), [139, None]),
        # One number of two photos is no riddle where no box has it.
        ([detection()], ("a/7.jpg", "b/7.jpg", "1.jpg"), [7, 7, 1]),
        # As `pct predict` numbers photos whose numbers are not unique.
        ([detection(1, file_name="b_7.jpg"), detection(2, file_name="a_1.jpg")], ("a_1.jpg", "b_7.jpg"), [2, 1]),
        # A name in several spellings.
        ([detection(file_name=name) for name in ("a.jpg", "val/a.JPG", "val\\a.jpg")], ("val/a.jpg",), [1]),
        ([detection(file_name=name) for name in ("a.jpg", "val/a.JPG")], ("a.jpeg", "a.JPG"), [None, 1]),
        # Endings in capital letters.
        (labelled("one/a.jpg", "b.jpg", "b.JPG"), ("one/a.JPG", "b.JPG", "b.jpg"), [1, 3, 2]),
    ],
)
def test_photos_are_matched_by_name_or_number(tmp_path: Path, content: object, photos: tuple, ids: list) -> None:
    found = match(tmp_path, content, *photos)
    assert [found.get(name) for name in photos] == ids


@pytest.mark.parametrize(
    ("content", "photos", "reason"),
    [
        ([detection(7)], ("8.jpg",), "no box is of one of the 1 photos, which are found by the numbers"),
        (
            [detection()],
            ("a/1.jpg", "b/1.jpg"),
            r"boxes\.json: a/1\.jpg and b/1\.jpg may both be image 1, and",
        ),
        (labelled("b.jpg", "b.jpg"), (), r"images 1 and 2 have the same file_name 'b\.jpg'"),
        (
            labelled(images=[{"id": 1, "file_name": n} for n in ("a.jpg", "b.jpg")]),
            (),
            r"boxes\.json: 'a\.jpg' and 'b\.jpg' have the same image id 1",
        ),
    ],
)
def test_photos_are_never_matched_by_a_guess(tmp_path: Path, content: object, photos: tuple, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        match(tmp_path, content, *photos)


@pytest.mark.parametrize(
    ("content", "options", "reason"),
    [
        ([detection(category_id=0)], {}, r"none of 1 .*, category 1 \(.*id 0\): 1\); .*--category"),
        ([detection()], {"category": "person"}, "name no categories; choose 'person' by its id"),
        ("5", {}, "expected a list, as COCO results are"),
        ('"text"', {}, "expected a list, as COCO results are"),
        (json.dumps([detection(1), detection(2)])[:-20], {}, "malformed or truncated JSON after 1 entries"),
        ("", {}, "boxes.json"),
        ("[{", {}, "truncated"),
        ({"a": 1}, {}, "no annotations"),
    ],
)
def test_files_without_boxes_of_persons_are_refused(
    tmp_path: Path, content: object, options: dict, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        load(tmp_path, content, **options)
    with pytest.raises(ValueError, match="no such file of boxes"):
        load_photo_boxes(tmp_path / "none.json")


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
    boxes, said = load(tmp_path, [detection(1), bad, detection(3)])
    assert boxes.image_ids.tolist() == [1, 3]
    assert len(said) == 1
    assert "boxes.json: entry 1: " in said[0]
    assert reason in said[0]


def test_persons_have_their_photo_and_no_labels(tmp_path: Path) -> None:
    people = write_people(tmp_path)
    boxes, _ = load(tmp_path, [detection(2), detection(1, bbox=[40, 40, 30, 30])])
    persons = DetectedPersons(boxes, people, tmp_path, COCO17)
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
    found, said = load(tmp_path, entries)[0], list[str]()
    persons = DetectedPersons(found, people, tmp_path, COCO17, report=said.append)
    assert persons.poses.annotation_ids.tolist() == [3]
    assert persons.detections.scores.tolist() == [np.float32(0.9)]
    assert persons[0].annotation_id == 3
    assert len(said) == 2
    assert "2 photos are missing (3.png, image 77 without an entry)" in said[0]
    assert "detection 0: bbox [60.0, 0.0, 5.0, 5.0] lies outside image 1 of 48x48 pixels" in said[1]
    assert len(DetectedPersons(found.select(np.zeros(4, bool)), people, tmp_path, COCO17)) == 0
