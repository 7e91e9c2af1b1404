"""Boxes of persons from files, matched with the photos that are named on a command line."""

from __future__ import annotations

import json

import pytest

from pct.files.photo_inputs import PhotoInput
from pct.photos.detection.boxes import load_photo_boxes


def inputs(folder, *names: str) -> list[PhotoInput]:
    return [PhotoInput(folder / name, name, name.endswith(".mp4")) for name in names]


def write(path, value):
    path.write_text(json.dumps(value))
    return path


def test_results_are_matched_by_the_number_in_the_name(tmp_path) -> None:
    entries = [
        {"image_id": 139, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.9},
        {"image_id": 139, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.9},
        {"image_id": 7, "category_id": 1, "bbox": [5, 6, 7, 8], "score": 0.2},
        {"image_id": 139, "category_id": 1, "bbox": [9, 9, 9, 9], "score": 0.5},
    ]
    boxes = load_photo_boxes(write(tmp_path / "boxes.json", entries), min_score=0.3, report=lambda _: None)
    assert boxes.image_ids(inputs(tmp_path, "000139.jpg", "beach.jpg")) == {"000139.jpg": 139}
    assert boxes.of(139).bbox.tolist() == [[1, 2, 3, 4], [9, 9, 9, 9]]
    assert boxes.of(139).scores.tolist() == pytest.approx([0.9, 0.5])
    assert len(boxes.of(7)) == 0
    with pytest.raises(ValueError, match="no box is of one of the 1 photos, which are found by the numbers"):
        boxes.image_ids(inputs(tmp_path, "8.jpg"))


def test_annotations_are_matched_by_the_file_name(tmp_path) -> None:
    values = {
        "images": [{"id": 5, "file_name": "val/beach.jpg"}, {"id": 6, "file_name": "7.jpg"}],
        "categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 5, "category_id": 1, "bbox": [1, 2, 3, 4]},
            {"id": 2, "image_id": 5, "category_id": 18, "bbox": [1, 2, 3, 4]},
            {"id": 3, "image_id": 5, "category_id": 1, "iscrowd": 1, "bbox": [1, 2, 3, 4]},
            {"id": 4, "image_id": 6, "category_id": 1, "bbox": [1, 2, 3]},
            {"id": 5, "image_id": 6, "category_id": 1, "bbox": [4, 5, 6, 7]},
            "nonsense",
        ],
    }
    reports: list[str] = []
    boxes = load_photo_boxes(write(tmp_path / "people.json", values), report=reports.append)
    assert boxes.image_ids(inputs(tmp_path, "beach.jpg", "7.jpg", "other.jpg")) == {"beach.jpg": 5, "7.jpg": 6}
    assert boxes.of(5).bbox.tolist() == [[1, 2, 3, 4]]
    assert boxes.of(6).bbox.tolist() == [[4, 5, 6, 7]]
    assert boxes.of(6).scores.tolist() == [1]
    assert [report.split(": ")[1][:12] for report in reports] == ["entry 3", "entry 5", "left out 2 b"]


def test_endings_in_capital_letters_and_equal_names_are_no_riddle(tmp_path) -> None:
    images = [{"id": 5, "file_name": "one/a.jpg"}, {"id": 6, "file_name": "b.jpg"}, {"id": 7, "file_name": "b.JPG"}]
    boxes = {"image_id": 5, "category_id": 1, "bbox": [1, 2, 3, 4]}
    path = write(tmp_path / "people.json", {"images": images, "annotations": [boxes]})
    photos = inputs(tmp_path, "one/a.JPG", "b.JPG", "b.jpg")
    assert load_photo_boxes(path).image_ids(photos) == {"one/a.JPG": 5, "b.JPG": 7, "b.jpg": 6}
    write(path, {"images": [*images, {"id": 9, "file_name": "b.jpg"}], "annotations": [boxes]})
    with pytest.raises(ValueError, match=r"images 6 and 9 have the same file_name 'b\.jpg'"):
        load_photo_boxes(path)


@pytest.mark.parametrize(("text", "reason"), [("", "boxes.json"), ("[{", "truncated"), ('{"a": 1}', "no annotations")])
def test_broken_files_of_boxes_are_refused(tmp_path, text: str, reason: str) -> None:
    (tmp_path / "boxes.json").write_text(text)
    with pytest.raises(ValueError, match=reason):
        load_photo_boxes(tmp_path / "boxes.json")
    with pytest.raises(ValueError, match="no such file of boxes"):
        load_photo_boxes(tmp_path / "none.json")


def test_no_box_at_all_is_a_result_of_a_detector(tmp_path) -> None:
    boxes = load_photo_boxes(write(tmp_path / "boxes.json", []))
    assert boxes.image_ids(inputs(tmp_path, "3.jpg")) == {"3.jpg": 3}
    assert len(boxes.of(3)) == 0


def test_photos_are_never_matched_by_a_guess(tmp_path) -> None:
    result = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.9}
    path = write(tmp_path / "boxes.json", [result])
    with pytest.raises(ValueError, match=r"boxes\.json: cam1/1\.jpg and cam2/1\.jpg may both be image 1, and the file"):
        load_photo_boxes(path).image_ids(inputs(tmp_path, "cam1/1.jpg", "cam2/1.jpg"))
    # One number of two photos is no riddle where no box has it.
    photos = inputs(tmp_path, "cam1/7.jpg", "cam2/7.jpg", "1.jpg")
    assert load_photo_boxes(path).image_ids(photos) == {"cam1/7.jpg": 7, "cam2/7.jpg": 7, "1.jpg": 1}
    # As `pct predict` numbers photos whose numbers are not unique.
    write(path, [{**result, "file_name": "b_7.jpg"}, {**result, "image_id": 2, "file_name": "a_1.jpg"}])
    assert load_photo_boxes(path).image_ids(inputs(tmp_path, "a_1.jpg", "b_7.jpg")) == {"a_1.jpg": 2, "b_7.jpg": 1}
    # A name in two spellings.
    write(path, [{**result, "file_name": name} for name in ("a.jpg", "val/a.JPG", "val\\a.jpg")])
    assert load_photo_boxes(path).image_ids(inputs(tmp_path, "val/a.jpg")) == {"val/a.jpg": 1}
    assert load_photo_boxes(path).image_ids(inputs(tmp_path, "a.jpeg", "a.JPG")) == {"a.JPG": 1}
    write(path, {"images": [{"id": 1, "file_name": n} for n in ("a.jpg", "b.jpg")], "annotations": [result]})
    with pytest.raises(ValueError, match=r"boxes\.json: 'a\.jpg' and 'b\.jpg' have the same image id 1"):
        load_photo_boxes(path)
