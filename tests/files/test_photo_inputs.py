"""Photos that are named on a command line, their ids, and their boxes from files."""

from __future__ import annotations

import json

import pytest

from pct.files.photo_inputs import PhotoInput, choose_image_ids, find_photos, number_in_name
from pct.photos.detection.boxes import load_photo_boxes


def make_files(folder, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def inputs(folder, *names: str) -> list[PhotoInput]:
    return [PhotoInput(folder / name, name, name.endswith(".mp4")) for name in names]


def test_folders_give_their_photos_and_videos_in_order(tmp_path) -> None:
    make_files(tmp_path, "in/b.JPG", "in/a.png", "in/sub/c.mp4", "in/notes.txt", "in/.hidden.png", "in/.git/d.png")
    found = find_photos([tmp_path / "in"])
    assert found == [
        PhotoInput(tmp_path / "in/a.png", "a.png", False),
        PhotoInput(tmp_path / "in/b.JPG", "b.JPG", False),
        PhotoInput(tmp_path / "in/sub/c.mp4", "sub/c.mp4", True),
    ]


def test_names_are_unique_and_no_file_comes_twice(tmp_path) -> None:
    make_files(tmp_path, "one/a.png", "two/a.png", "two/a_2.png", "odd.suffix")
    paths = [tmp_path / "one", tmp_path / "two", tmp_path / "one/a.png", tmp_path / "odd.suffix"]
    found = find_photos(paths)
    assert [photo.name for photo in found] == ["a.png", "a_3.png", "a_2.png", "odd.suffix"]
    assert len({photo.path for photo in found}) == 4


def test_what_is_not_there_is_refused(tmp_path) -> None:
    make_files(tmp_path, "empty/notes.txt")
    with pytest.raises(ValueError, match=r"empty: no photo or video in this folder; their suffixes are \.jpg"):
        find_photos([tmp_path / "empty"])
    with pytest.raises(ValueError, match=r"none\.jpg: no such file or folder"):
        find_photos([tmp_path / "none.jpg"])


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["000000000139.jpg", "COCO_val2014_000000000042.jpg"], [139, 42]),
        (["1.jpg", "sub/1.jpg"], [1, 2]),
        (["7.jpg", "beach.jpg"], [1, 2]),
        (["7.jpg", "8.mp4"], [7]),
        ([f"{2**70}.jpg"], [1]),
    ],
)
def test_image_ids_are_the_numbers_in_the_names_if_they_can_be(tmp_path, names: list, ids: list) -> None:
    assert list(choose_image_ids(inputs(tmp_path, *names)).values()) == ids


def test_only_the_file_name_counts_for_its_number() -> None:
    assert number_in_name("2017/photo.jpg") is None
    assert number_in_name("2017/photo12.jpg") == 12


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
