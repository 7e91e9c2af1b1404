"""COCO files: what is written is read again, streams equal whole files, and bad input is named."""

from __future__ import annotations

import contextlib
import io
import json
import math
import tracemalloc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_codec import CATEGORY, TRIANGLE, encode, person, write_json

from pct.files.coco import find_category
from pct.files.coco_writer import write_coco_json, write_coco_poses
from pct.files.json_stream import iter_json
from pct.files.pose_files import load_keypoint_file
from pct.people.poses import generate_poses
from pct.skeleton import COCO17, CROWDPOSE14


@pytest.fixture
def file(tmp_path):
    return tmp_path / "poses.json"


def test_values_of_a_table(file) -> None:
    table = load_keypoint_file(write_json(file, [person(4), person(9, area=...)]), TRIANGLE)
    assert table.keypoints[0].tolist() == [[15, 21.5], [0, 0], [39, 59]]
    assert table.visible.tolist() == [[True, False, True]] * 2
    assert table.bbox[0].tolist() == [14.5, 20, 30.25, 40]
    assert table.area.tolist() == pytest.approx([700, 0.52 * 1210])
    assert (table.image_ids.tolist(), table.annotation_ids.tolist()) == ([28, 63], [4, 9])


def test_skeleton_comes_from_the_categories(file) -> None:
    with pytest.warns(UserWarning, match="no OKS sigmas"):
        skeleton = load_keypoint_file(write_json(file, [person(1)])).skeleton
    assert (skeleton.keypoint_names, skeleton.edges) == (TRIANGLE.keypoint_names, TRIANGLE.edges)


@pytest.mark.parametrize(
    ("text", "read", "encoded"),
    [
        ("", "malformed or truncated JSON", "the file is empty"),
        ("   ", "malformed", "malformed"),
        ("{", "malformed", "malformed"),
        ("not json", "malformed", "malformed"),
        ('{"annotations": [{"id": 1}, {"id"', "malformed or truncated JSON after 1 annotations", "malformed"),
        ('{"categories": [], "annotations": [}', "malformed", "malformed"),
        ('{"annotations": []} 1', "malformed.* there is more behind its end", "malformed"),
        ("\x80\x81", "malformed.* codec can.t decode", "malformed"),
        ("\x1f\x8b\x08", "malformed.* end-of-stream", "malformed"),
        ('{"annotations": [' + "[" * 100_000 + "]" * 100_000 + "]}", "malformed.* too deep", "malformed"),
        ("[]", r"this is JSON, a list, as COCO results and MPII files are; expected an annotation file", "no poses"),
        ("[1, 2]", "this is JSON, a list", "none of 2 .* annotation in row 0: '1' is not an object"),
        ("3", "this is JSON, a single value", "this is JSON, a single value; expected a list"),
        ('{"images": []}', "no annotations; the file has images", "no category names its keypoints"),
        ('{"annotations": 3}', "no annotations", "no category names its keypoints"),
        ('{"annotations": []}', "no annotations; `annotations` must be a list with at least one entry", "no category"),
        (json.dumps({"annotations": [], "categories": [CATEGORY]}), "no annotations", "no annotations"),
        ("{}", "no annotations; the file has no keys", "no category"),
        (
            json.dumps({f"k{i}": 1 for i in range(9)}),
            "no annotations; the file has k0, k1, .*, k7, \\.\\.\\.",
            "no category",
        ),
    ],
)
def test_bad_files_are_named_and_nothing_is_written(file, text, read, encoded) -> None:
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=rf"poses\.json: {read}"):
        list(iter_json(file, "annotations", required=True))
    with pytest.raises(ValueError, match=rf"poses\.json: {encoded}"):
        encode(file)
    assert [path.name for path in file.parent.iterdir()] == ["poses.json"]


def test_choice_of_category(file) -> None:
    dog = {"id": 2, "name": "dog", "keypoints": ["snout", "tail"], "sigmas": [0.1, 0.1]}
    kite = {"id": 3, "name": "kite"}
    write_json(file, [person(1)], [kite, CATEGORY, dog])
    with pytest.raises(ValueError, match=r"several categories have different keypoints \(person, dog\); choose one"):
        find_category(file)
    assert find_category(file, category="dog").skeleton.keypoint_names == ("snout", "tail")
    assert find_category(file, category="2").category_ids == {2}
    assert find_category(file, TRIANGLE).category_ids == {1}
    with pytest.raises(ValueError, match=r"name or id 'cat'; the file has 'kite' \(id 3\), 'person'"):
        find_category(file, category="cat")
    with pytest.raises(ValueError, match="no category names its keypoints"):
        find_category(write_json(file, [person(1)], [kite]))
    assert find_category(file, TRIANGLE).skeleton is TRIANGLE
    with pytest.raises(ValueError, match=r"category 'person' has the 3 joints top.* crowdpose14 has"):
        find_category(write_json(file, [person(1)]), CROWDPOSE14)


def test_what_is_written_is_read_again(file) -> None:
    annotations = [person(i, keypoints=[i, i / 3, 2, 0, 0, 0, 7.25, 1, 1], category_id=..., note="é") for i in (3, 1)]
    images = [{"id": 1, "file_name": "a.jpg", "width": 5, "height": 6}]
    write_coco_json(file, TRIANGLE, images, iter(annotations))
    assert list(iter_json(file, "images")) == images
    expected = [{"category_id": 1, "num_keypoints": 2, **a} for a in annotations]
    assert list(iter_json(file, "annotations", required=True)) == expected
    (category,) = iter_json(file, "categories")
    assert category["skeleton"] == [[1, 2], [1, 3]]
    table = load_keypoint_file(file, TRIANGLE)
    assert table.keypoints[0, 0].tolist() == pytest.approx([3, 1])
    assert table.annotation_ids.tolist() == [3, 1]


def test_written_poses_are_read_back(file) -> None:
    poses = generate_poses(20, COCO17, seed=3)
    write_coco_poses(file, [poses])
    read = load_keypoint_file(file)
    assert read.skeleton == COCO17
    for column in ("visible", "annotation_ids", "image_ids"):
        assert torch.equal(getattr(read, column), getattr(poses, column))
    torch.testing.assert_close(read.keypoints[read.visible], poses.keypoints[poses.visible])


def test_writing_overwrites_nothing_unasked_and_leaves_nothing_half_written(file) -> None:
    write_coco_json(file, TRIANGLE, [], [person(1)])
    before = file.read_bytes()
    with pytest.raises(FileExistsError):
        write_coco_json(file, TRIANGLE, [], [person(2)])
    with pytest.raises(ValueError, match="entry with id 3 cannot be written"):
        write_coco_json(file, TRIANGLE, [], [person(2), person(3, area=math.nan)], force=True)
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == [file.name]
    write_coco_json(file, TRIANGLE, [], [person(2)], force=True)
    assert file.read_bytes() != before


_TEXT = st.text(st.sampled_from('aN"\\,:[]{} é\n'), max_size=12) | st.sampled_from(
    ["NaN", ", NaN,", "-Infinity", '"NaN']
)
_NUMBER = st.floats(width=32) | st.integers(-(10**9), 10**9)


@settings(max_examples=60)
@given(
    items=st.lists(st.dictionaries(_TEXT, _NUMBER | _TEXT | st.lists(_NUMBER | _TEXT, max_size=4), max_size=4)),
    piece=st.integers(1, 70),
)
def test_a_stream_equals_the_file_with_none_for_what_is_no_number(items, piece, tmp_path_factory) -> None:
    def strict(value):
        if isinstance(value, dict):
            return {k: strict(v) for k, v in value.items()}
        if isinstance(value, list):
            return [strict(v) for v in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    path = tmp_path_factory.mktemp("stream") / "stream.json"
    path.write_text(json.dumps({"x": items, "annotations": [*items, {}]}, ensure_ascii=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pct.files.json_stream._PIECE", piece)  # wherever the reader cuts the file
        assert list(iter_json(path, "annotations", required=True)) == strict([*items, {}])


def test_streaming_needs_no_memory_for_what_is_past(tmp_path) -> None:
    def peak(n: int) -> int:
        path = tmp_path / f"{n}.json"
        tracemalloc.start()
        write_coco_json(path, TRIANGLE, [], (person(i) for i in range(n)))
        assert sum(1 for _ in iter_json(path, "annotations", required=True)) == n
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(100)
    assert peak(8000) < 1.5 * peak(2000)


@pytest.mark.shared
def test_real_file_reads_as_pycocotools_reads_it(shared_dir) -> None:
    pycocotools = pytest.importorskip("pycocotools.coco")
    path = shared_dir / "data/coco/annotations/person_keypoints_val2017.json"
    table = load_keypoint_file(path)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = pycocotools.COCO(str(path))
    annotations = coco.loadAnns(coco.getAnnIds(catIds=coco.getCatIds(["person"]), iscrowd=False))
    rows = {int(number): i for i, number in enumerate(table.annotation_ids)}
    assert table.skeleton is COCO17
    assert sorted(rows) == sorted(a["id"] for a in annotations)
    order = torch.tensor([rows[a["id"]] for a in annotations])
    triplets = torch.tensor([a["keypoints"] for a in annotations], dtype=torch.float32).reshape(-1, 17, 3)
    assert torch.equal(table.visible[order], triplets[..., 2] > 0)
    assert torch.equal(table.keypoints[order], triplets[..., :2] * (triplets[..., 2:] > 0))
    assert torch.equal(table.bbox[order], torch.tensor([a["bbox"] for a in annotations]))
    assert torch.equal(table.area[order], torch.tensor([a["area"] for a in annotations]))
    assert torch.equal(table.image_ids[order], torch.tensor([a["image_id"] for a in annotations]))


@pytest.mark.shared
def test_written_file_is_one_for_pycocotools(file, shared_dir) -> None:
    pycocotools = pytest.importorskip("pycocotools.coco")
    source = shared_dir / "data/coco_photos/annotations.json"
    write_coco_json(file, COCO17, iter_json(source, "images"), iter_json(source, "annotations", required=True))
    with contextlib.redirect_stdout(io.StringIO()):
        before, after = pycocotools.COCO(str(source)), pycocotools.COCO(str(file))
    assert before.anns == after.anns
    assert before.imgs == after.imgs
