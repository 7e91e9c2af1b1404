"""Pose files: every kind of bad input is named, and good poses beside it are encoded all the same."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_codec import CATEGORY, TRIANGLE, encode, person, read, write_arrays, write_json

from pct.files.npz import NpzError, NpzReader, write_npz
from pct.files.pose_files import PoseFileError, read_poses
from pct.tokens.table import PoseTokens


def test_unknown_joints_may_hold_anything(tmp_path) -> None:
    good = person(1, keypoints=[11, 21, 2, 0, 0, 0, 39, 59, 1])
    odd = person(2, bbox=good["bbox"], keypoints=[11, 21, 2, float("nan"), 1e300, 0, 39, 59, 1])
    assert encode(write_json(tmp_path / "in.json", [good, odd]), strict=True).poses == 2
    first, second = read(tmp_path / "tokens.parquet").indices
    np.testing.assert_array_equal(first, second)


BAD = [
    ({"keypoints": [1, 2, 2] * 4}, "wrong number of joints", "keypoints has 12 values; it must be 9"),
    ({"keypoints": [11, 21, 39, 59, 20, 30]}, "wrong number of joints", "keypoints has 6 values"),
    ({"keypoints": [[11, 21, 2]] * 9}, "not a number", r"keypoints holds \[11, 21, 2\]"),
    ({"keypoints": ["11", 21, 2] * 3}, "not a number", "keypoints holds '11'"),
    ({"image_id": False}, "bad id", "image_id is False; it must be an integer"),
    ({"keypoints": [True, 21, 2] * 3}, "not a number", "keypoints holds True"),
    ({"keypoints": [float("nan"), 21, 2] * 3}, "coordinates not finite", r"joint top is \[nan, 21.0\]; known joints"),
    ({"keypoints": [11, 21, 2, 11, float("inf"), 2] * 2}, "wrong number of joints", "keypoints has 12"),
    ({"keypoints": [11, 21, 2, 11, float("-inf"), 1, 1, 1, 0]}, "coordinates not finite", "joint left_foot is"),
    ({"keypoints": [1e7, 21, 2] * 3}, "coordinates not finite", "below 1000000"),
    ({"keypoints": [11, 21, float("nan")] * 3}, "visibility not a number", "visibility of top is nan"),
    ({"keypoints": [9e5, 21, 2] * 3}, "joints far from the box", "both must be in image pixels"),
    ({"bbox": [10, 20, 0, 40]}, "box without area", r"bbox is \[10.0, 20.0, 0.0, 40.0\]; width and height must be"),
    ({"bbox": [10, 20, 30, -4]}, "box without area", "must be positive"),
    ({"bbox": [10, 20, 1e-60, 1e-60]}, "box without area", "must be positive"),
    ({"bbox": [float("nan"), 20, 30, 40]}, "box without area", "all values finite"),
    ({"bbox": [10, 20, 30]}, "box without 4 numbers", "bbox has 3 values; it must be 4"),
    ({"bbox": ...}, "missing field", "no bbox; it must be 4 numbers"),
    ({"keypoints": ...}, "missing field", "no keypoints; it must be 9 numbers"),
    ({"image_id": ...}, "missing field", "no image_id"),
    ({"image_id": "000139"}, "bad id", "image_id is '000139'; it must be an integer"),
    ({"area": -1}, "bad area", "area is -1; it must be a positive number"),
]


@pytest.mark.parametrize(("changes", "kind", "sentence"), BAD)
def test_one_bad_annotation_is_reported_skipped_and_counted(tmp_path, changes, kind, sentence) -> None:
    annotations = [person(1), person(2), person(33, **changes), person(4)]
    source, reports = write_json(tmp_path / "in.json", annotations), []
    summary = encode(source, report=reports.append, batch_size=2)
    assert (summary.poses, dict(summary.skipped)) == (3, {kind: 1})
    assert read(tmp_path / "tokens.parquet").annotation_ids.tolist() == [1, 2, 4]
    assert len(reports) == 1
    assert reports[0].startswith(f"{source}: annotation 33: ")
    with pytest.raises(PoseFileError, match=sentence):
        encode(source, tmp_path / "strict.parquet", strict=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.json", "tokens.parquet"]


@pytest.mark.parametrize("annotation", [None, 5, "x", [], {}, {"keypoints": [1, 2, 3]}, {"id": True}])
def test_what_is_no_annotation_at_all_is_named_by_its_row(tmp_path, annotation) -> None:
    """Of its own id nothing is said; True, an int to Python, is none."""
    reports: list[str] = []
    annotation = person(2, **annotation) if annotation == {"id": True} else annotation
    encode(write_json(tmp_path / "in.json", [person(1), annotation]), report=reports.append)
    assert "in.json: annotation in row 1: " in reports[0]


def test_crowds_and_other_categories_are_left_out_and_counted(tmp_path) -> None:
    unlabelled = person(4, keypoints=[11, 21, 0] * 3)
    annotations = [person(1), person(2, iscrowd=1), person(3, category_id=9, keypoints=...), unlabelled]
    summary = encode(write_json(tmp_path / "in.json", annotations), strict=True)
    assert (summary.poses, summary.left_out.total(), summary.skipped.total()) == (1, 3, 0)
    left_out = "(crowds: 1, category without a name (id 9): 1, persons without a labelled joint: 1)"
    assert str(summary).endswith(f"left out 3 {left_out}")
    with pytest.raises(PoseFileError, match="only crowds and other categories"):
        encode(write_json(tmp_path / "in.json", annotations[1:]), tmp_path / "t2.parquet")
    assert not (tmp_path / "t2.parquet").exists()


@settings(max_examples=15, deadline=None)
@given(bad=st.lists(st.sampled_from([None, *range(len(BAD))]), min_size=1, max_size=9), batch_size=st.integers(1, 4))
def test_good_poses_among_bad_ones_are_encoded_as_if_alone(bad, batch_size) -> None:
    annotations = [person(i + 1, **({} if b is None else BAD[b][0])) for i, b in enumerate(bad)]
    annotations.append(person(99))
    good = [a for a, b in zip(annotations, [*bad, None], strict=True) if b is None]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        summary = encode(write_json(folder / "all.json", annotations), folder / "all.parquet", batch_size=batch_size)
        encode(write_json(folder / "good.json", good), folder / "good.parquet")
        found, alone = read(folder / "all.parquet"), read(folder / "good.parquet")
    assert summary.skipped.total() == len(annotations) - len(good)
    for column in PoseTokens.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(found, column), getattr(alone, column))


@pytest.mark.parametrize("kind", ["json", "npz"])
def test_a_file_truncated_anywhere_writes_nothing(tmp_path, kind) -> None:
    source = tmp_path / f"in.{kind}"
    write_json(source, [person(i) for i in range(8)]) if kind == "json" else write_arrays(source)
    data = source.read_bytes()
    for length in range(0, len(data) - 1, 151):
        source.write_bytes(data[:length])
        with pytest.raises(ValueError, match=rf"in\.{kind}"):
            encode(source, batch_size=2)
    assert [p.name for p in tmp_path.iterdir()] == [source.name]


def test_joints_of_another_skeleton_are_refused_naming_both(tmp_path) -> None:
    other = {**CATEGORY, "name": "bird", "keypoints": ["top", "right_foot", "left_foot"]}
    source = write_json(tmp_path / "in.json", [person(1)], [other])
    with pytest.raises(
        PoseFileError, match=r"'bird' has the 3 joints top, right_foot.*triangle has the 3 joints top, l"
    ):
        encode(source)
    encode(write_json(tmp_path / "in.json", [person(1), person(2, category_id=5)], [{**other, "id": 5}, CATEGORY]))
    assert read(tmp_path / "tokens.parquet").annotation_ids.tolist() == [1]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"keypoints": None}, "no array 'keypoints'; the file has visible, bbox"),
        ({"keypoints": np.zeros((6, 4, 2))}, r"shape \(6, 4, 2\); skeleton triangle needs \(N, 3, 2\)"),
        ({"keypoints": np.zeros((6, 3, 3))}, r"shape \(6, 3, 3\)"),
        ({"keypoints": np.zeros((6, 6))}, r"shape \(6, 6\)"),
        ({"keypoints": np.float64(1)}, r"shape \(\)"),
        ({"keypoints": np.zeros((0, 3, 2))}, "no poses"),
        ({"keypoints": np.zeros((6, 3, 2), complex)}, "keypoints holds complex128; it must hold numbers"),
        ({"keypoints": np.full((6, 3, 2), "1")}, "keypoints holds <U1"),
        ({"keypoints": np.full((6, 3, 2), None)}, "holds Python objects, that is a pickle, which is refused"),
        ({"visible": np.ones((6, 4))}, r"visible has shape \(6, 4\); it must have \(6, 3\)"),
        ({"bbox": np.ones((5, 4))}, r"bbox has shape \(5, 4\); it must have \(6, 4\)"),
        ({"image_ids": np.ones(6)}, "image_ids holds float64; it must hold integers"),
        (
            {"image_ids": np.full(6, 2**64 - 1, np.uint64)},
            "image_ids holds 18446744073709551615; it must hold integers",
        ),
        ({"bbox": None, "boxes": np.ones((6, 4))}, "unknown array 'boxes'; did you mean 'bbox'"),
        ({"keypoint_names": np.array(["a", "b", "c"])}, "3 joints a, b, c; the model's skeleton triangle"),
        ({"keypoint_names": np.zeros(1_000_001, "S1")}, "holds 1,000,001 texts; at most 1,000,000 are read"),
    ],
)
def test_npz_files_that_do_not_fit_are_named(tmp_path, changes, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        encode(write_arrays(tmp_path / "in.npz", **changes))
    assert [p.name for p in tmp_path.iterdir()] == ["in.npz"]


def test_bad_rows_of_an_npz_file_are_named(tmp_path) -> None:
    with np.load(write_arrays(tmp_path / "a.npz")) as arrays:
        values = dict(arrays)
    values["keypoints"][1, 2] = np.nan
    values["visible"][2] = False
    values["bbox"][4, 3] = 0
    reports: list[str] = []
    summary = encode(write_arrays(tmp_path / "in.npz", **values), report=reports.append, batch_size=4)
    assert [r.split(": ")[1] for r in reports] == ["row 1", "row 2", "row 4"]
    assert summary.poses == 3
    assert read(tmp_path / "tokens.parquet").annotation_ids.tolist() == [0, 30, 50]


def test_pickled_files_are_never_opened(tmp_path) -> None:
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    for name in ("in.npz", "in.json", "in.parquet", "in.pkl"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(ValueError, match=r"pickled files are refused|malformed|no Parquet file"):
            encode(tmp_path / name)
    np.savez(tmp_path / "in.npz", keypoints=np.array([Bomb()], dtype=object))
    with pytest.raises(NpzError, match="pickle"):
        encode(tmp_path / "in.npz")
    assert not (tmp_path / "exploded").exists()


def test_a_damaged_npz_file_is_an_error(tmp_path) -> None:
    source = write_arrays(tmp_path / "in.npz")
    data = source.read_bytes()
    middle = data.index(b"keypoints.npy") + 200
    source.write_bytes(data[:middle] + b"\x00\xff" + data[middle + 2 :])
    with pytest.raises(NpzError, match="array 'keypoints' is damaged"):
        encode(source)


def test_npz_pieces_make_the_array_numpy_reads(tmp_path) -> None:
    array = np.arange(35, dtype=np.float32).reshape(7, 5)
    write_npz(tmp_path / "a.npz", {"x": (7, [array[:3], array[3:3], array[3:]]), "y": array})
    with np.load(tmp_path / "a.npz") as arrays:
        for name in "xy":
            np.testing.assert_array_equal(arrays[name], array)
    with NpzReader(tmp_path / "a.npz") as reader:
        assert [len(rows) for rows in reader.rows("x", 3)] == [3, 3, 1]
    with pytest.raises(ValueError, match="'x' got 3 rows; it must have 7"):
        write_npz(tmp_path / "b.npz", {"x": (7, [array[:3]])})
    for piece in (array[3:].astype(np.float64), array[3:, :1]):
        with pytest.raises(ValueError, match="after row 2; all must be"):
            write_npz(tmp_path / "b.npz", {"x": (7, [array[:3], piece])})
    assert not (tmp_path / "b.npz").exists()


def test_bad_rows_of_a_parquet_file_are_named(tmp_path) -> None:
    pose = [11.0, 21.0, 20.0, 30.0, 39.0, 59.0]
    table = pa.table(
        {
            "keypoints": [pose, pose[:4], None, [*pose[:5], None], pose, pose],
            "visible": [[True] * 3, [True] * 3, [True] * 3, [True] * 3, [True] * 2, [True] * 3],
            "annotation_id": [5, 6, 7, 8, 9, None],
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    reports: list[str] = []
    summary = encode(tmp_path / "in.parquet", report=reports.append)
    assert summary.poses == 1
    assert sorted(r.split(": ")[1] for r in reports) == ["row 1", "row 2", "row 3", "row 4", "row 5"]
    assert read(tmp_path / "tokens.parquet").annotation_ids.tolist() == [5]


def test_parquet_files_that_do_not_fit_are_named(tmp_path) -> None:
    for columns, sentence in (
        ({"poses": [[1.0] * 6]}, "no column 'keypoints'; the file has poses"),
        ({"keypoints": [[1.0] * 6], "box": [[1.0] * 4]}, "unknown column 'box'; did you mean 'bbox'"),
        ({"keypoints": pa.array([], pa.list_(pa.float32()))}, "no rows"),
        ({"keypoints": ["a"]}, "must hold numbers"),
    ):
        pq.write_table(pa.table(columns), tmp_path / "in.parquet")
        with pytest.raises(ValueError, match=sentence):
            encode(tmp_path / "in.parquet")
    encode(write_arrays(tmp_path / "in.npz"))
    with pytest.raises(PoseFileError, match="this is a token table, not poses"):
        encode(tmp_path / "tokens.parquet", tmp_path / "again.parquet")


def test_a_parquet_file_whose_column_names_are_damaged_is_named(tmp_path) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"keypoints": [[1.0] * 6]}), path)
    first, second, rest = path.read_bytes().split(b"keypoints", 2)  # in the schema, then where the column lies
    path.write_bytes(b"".join([first, b"keypoints", second, b"key\x9eoints", rest]))
    with pytest.raises(ValueError, match=r"in\.parquet: damaged data"):
        encode(path)


def test_inputs_of_other_kinds_are_refused(tmp_path) -> None:
    (tmp_path / "poses.json").mkdir()
    for name, sentence in (("poses.json", "this is a folder"), ("a.csv", "suffix is '.csv'"), ("a.json", "no such")):
        with pytest.raises(PoseFileError, match=sentence):
            encode(tmp_path / name)


def test_batches_of_a_file_are_no_longer_than_asked(tmp_path) -> None:
    source = write_json(tmp_path / "in.json", [person(i) for i in range(10)])
    assert [len(b.poses) for b in read_poses(source, TRIANGLE, 4)] == [4, 4, 2]
    assert [len(b.poses) for b in read_poses(write_arrays(tmp_path / "in.npz"), TRIANGLE, 4)] == [4, 2]
