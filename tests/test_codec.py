"""The codec: files in, tokens, files out; order, ids and boxes stay; every kind of bad input is named."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pct.codec import decode_file, encode_file
from pct.data.npz import NpzError, NpzReader, write_npz
from pct.data.pose_files import PoseFileError, count_poses, read_poses
from pct.files import OutputError
from pct.geometry import bbox_from_keypoints
from pct.models.tokenizer import PoseTokenizer, TokenizerConfig
from pct.parquet import ParquetError
from pct.pose_space import PoseSpace
from pct.skeleton import COCO17, Skeleton
from pct.text_files import table_to_text, text_to_table
from pct.tokens import PoseTokens, TokenFileError, TokenReader, TokenWriter

TRIANGLE = Skeleton("triangle", ("top", "left_foot", "right_foot"), ((0, 1), (0, 2)), ((1, 2),), (0.05, 0.05, 0.05))


def make_tokenizer(seed: int = 0, **changes) -> PoseTokenizer:
    torch.manual_seed(seed)
    sizes = {
        "skeleton": TRIANGLE,
        "num_tokens": 4,
        "codebook_size": 32,
        "codebook_dim": 4,
        "encoder_width": 8,
        "encoder_blocks": 1,
        "decoder_width": 8,
        **changes,
    }
    return PoseTokenizer(TokenizerConfig(**sizes)).eval()


TOKENIZER = make_tokenizer()


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks this small lose more time in waking threads than they win."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


CATEGORY = {"id": 1, "name": "person", "keypoints": list(TRIANGLE.keypoint_names), "skeleton": [[1, 2], [1, 3]]}


def person(number: int, **changes) -> dict:
    """A good annotation of TRIANGLE; ``...`` as a value leaves the field out."""
    values = {
        "id": number,
        "image_id": 7 * number,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [10.5 + number, 20, 30.25, 40],
        "area": 700.0,
        "keypoints": [11 + number, 21.5, 2, 0, 0, 0, 39, 59, 1],
        **changes,
    }
    return {name: value for name, value in values.items() if value is not ...}


def write_json(path: Path, annotations: list, categories=(CATEGORY,)) -> Path:
    path.write_text(json.dumps({"images": [], "annotations": annotations, "categories": list(categories)}))
    return path


def write_arrays(path: Path, **changes) -> Path:
    rng = np.random.default_rng(0)
    arrays = {
        "keypoints": rng.uniform(10, 200, (6, 3, 2)),
        "visible": np.array([[1, 1, 1], [1, 0, 1]] * 3, bool),
        "bbox": np.array([[5, 5, 200, 220.0]] * 6),
        "image_ids": np.arange(6) // 2,
        "annotation_ids": np.arange(6) * 10,
        **changes,
    }
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def read(path: Path) -> PoseTokens:
    with TokenReader(path) as reader:
        return reader.read()


def encode(source: Path, out: Path | None = None, **options):
    return encode_file(TOKENIZER, source, out or source.with_name("tokens.parquet"), **options)


pixels = st.integers(-20_000, 200_000).map(lambda x: x / 100)
joints = st.lists(st.tuples(pixels, pixels, st.sampled_from([0, 1, 2])), min_size=3, max_size=3).filter(
    lambda pose: any(v for _, _, v in pose)
)
boxes = st.tuples(pixels, pixels, *[st.integers(2_000, 99_999).map(lambda x: x / 100)] * 2)
ids = st.integers(-(2**62), 2**62)


@settings(max_examples=15, deadline=None)
@given(rows=st.lists(st.tuples(joints, boxes, ids, ids), min_size=1, max_size=12), batch_size=st.integers(1, 5))
def test_ids_order_and_boxes_survive_coco_to_tokens_to_coco(rows, batch_size) -> None:
    annotations = [
        person(i, keypoints=[x for joint in pose for x in joint], bbox=list(box), image_id=image)
        for pose, box, image, i in rows
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        encode(write_json(folder / "in.json", annotations), folder / "t.parquet", batch_size=batch_size)
        decode_file(TOKENIZER, folder / "t.parquet", folder / "out.json", batch_size=batch_size)
        out = json.loads((folder / "out.json").read_text())
        tokens = read(folder / "t.parquet")
    for field in ("id", "image_id", "bbox", "area"):
        assert [a[field] for a in out["annotations"]] == [a[field] for a in annotations]
    assert [image["id"] for image in out["images"]] == sorted({image for *_, image, _ in rows})
    keypoints = torch.tensor([[joint[:2] for joint in pose] for pose, *_ in rows], dtype=torch.float64)
    visible = torch.tensor([[joint[2] > 0 for joint in pose] for pose, *_ in rows])
    bbox = torch.tensor([box for _, box, *_ in rows], dtype=torch.float32)
    indices = TOKENIZER.encode(keypoints, visible, bbox)
    np.testing.assert_array_equal(tokens.indices, indices.numpy())
    decoded = np.array([a["keypoints"] for a in out["annotations"]]).reshape(len(rows), 3, 3)
    np.testing.assert_allclose(decoded[..., :2], TOKENIZER.decode(indices, bbox), atol=0.006)
    assert (decoded[..., 2] == 2).all()


def test_pycocotools_loads_what_decode_writes(tmp_path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    encode(write_json(tmp_path / "in.json", [person(i, area=...) for i in range(1, 5)]))
    decode_file(TOKENIZER, tmp_path / "tokens.parquet", tmp_path / "out.json")
    with contextlib.redirect_stdout(io.StringIO()):
        loaded = coco.COCO(str(tmp_path / "out.json"))
    assert sorted(loaded.getAnnIds(imgIds=[14])) == [2]
    annotation = loaded.loadAnns([2])[0]
    assert annotation["num_keypoints"] == 3
    assert annotation["area_estimated"] is True
    assert annotation["area"] == pytest.approx(0.52 * 30.25 * 40, abs=0.01)
    assert loaded.loadCats([1])[0]["keypoints"] == list(TRIANGLE.keypoint_names)


@pytest.mark.parametrize("nested", [True, False])
def test_the_same_poses_give_the_same_tokens_from_every_kind_of_file(tmp_path, nested) -> None:
    annotations = [person(i, keypoints=[20 + i, 30, 2, 25, 50 - i, i % 2, 31, 44, 1]) for i in range(1, 30)]
    encode(write_json(tmp_path / "in.json", annotations), tmp_path / "json.parquet", batch_size=7)
    triplets = np.array([a["keypoints"] for a in annotations], float).reshape(-1, 3, 3)
    columns = {
        "keypoints": triplets[..., :2],
        "visible": triplets[..., 2] > 0,
        "bbox": np.array([a["bbox"] for a in annotations]),
        "area": np.full(len(annotations), 700.0),
    }
    image_ids = np.array([a["image_id"] for a in annotations])
    annotation_ids = np.array([a["id"] for a in annotations])
    np.savez(tmp_path / "in.npz", **columns, image_ids=image_ids, annotation_ids=annotation_ids)
    np.savez_compressed(
        tmp_path / "fortran.npz",
        **{name: np.asfortranarray(array) for name, array in columns.items()},
        image_ids=image_ids.astype(np.int32),
        annotation_ids=annotation_ids,
    )
    lists = {name: array.reshape(len(array), -1).tolist() for name, array in columns.items() if name != "area"}
    if nested:
        lists["keypoints"] = columns["keypoints"].tolist()
    table = pa.table({**lists, "area": columns["area"], "image_id": image_ids, "annotation_id": annotation_ids})
    pq.write_table(table, tmp_path / "in.parquet")
    expected = read(tmp_path / "json.parquet")
    for name in ("in.npz", "fortran.npz", "in.parquet"):
        encode(tmp_path / name, tmp_path / "t.parquet", batch_size=4, force=True)
        found = read(tmp_path / "t.parquet")
        for column in PoseTokens.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(found, column), getattr(expected, column), err_msg=f"{name} {column}")
        assert count_poses(tmp_path / name) == len(annotations)


def test_a_decoded_npz_encodes_again(tmp_path) -> None:
    encode(write_arrays(tmp_path / "in.npz"))
    decode_file(TOKENIZER, tmp_path / "tokens.parquet", tmp_path / "out.npz", batch_size=4)
    tokens = read(tmp_path / "tokens.parquet")
    with np.load(tmp_path / "out.npz", allow_pickle=False) as arrays:
        expected = TOKENIZER.decode(torch.from_numpy(tokens.indices), torch.from_numpy(tokens.bbox))
        np.testing.assert_array_equal(arrays["keypoints"], expected)
        np.testing.assert_array_equal(arrays["annotation_ids"], np.arange(6) * 10)
        assert tuple(arrays["keypoint_names"]) == TRIANGLE.keypoint_names
    assert encode(tmp_path / "out.npz", tmp_path / "again.parquet").poses == 6
    np.testing.assert_array_equal(read(tmp_path / "again.parquet").image_ids, tokens.image_ids)


def test_boxes_and_ids_that_are_not_given_come_from_joints_and_rows(tmp_path) -> None:
    path = write_arrays(tmp_path / "in.npz", bbox=None, image_ids=None, annotation_ids=None)
    encode(path, batch_size=4)
    tokens = read(tmp_path / "tokens.parquet")
    assert tokens.annotation_ids.tolist() == tokens.image_ids.tolist() == [0, 1, 2, 3, 4, 5]
    with np.load(path) as arrays:
        boxes = bbox_from_keypoints(torch.from_numpy(arrays["keypoints"]), torch.from_numpy(arrays["visible"]))
    np.testing.assert_allclose(tokens.bbox, boxes, rtol=1e-6)


def test_unknown_joints_may_hold_anything(tmp_path) -> None:
    good = person(1, keypoints=[11, 21, 2, 0, 0, 0, 39, 59, 1])
    odd = person(2, bbox=good["bbox"], keypoints=[11, 21, 2, float("nan"), 1e300, 0, 39, 59, 1])
    assert encode(write_json(tmp_path / "in.json", [good, odd]), strict=True).poses == 2
    first, second = read(tmp_path / "tokens.parquet").indices
    np.testing.assert_array_equal(first, second)


BAD = [
    ({"keypoints": [1, 2, 2] * 4}, "wrong number of joints", "keypoints has 12 values; it must have 9"),
    ({"keypoints": [11, 21, 39, 59, 20, 30]}, "wrong number of joints", "keypoints has 6 values"),
    ({"keypoints": [[11, 21, 2]] * 9}, "not a number", r"keypoints holds \[11, 21, 2\]"),
    ({"keypoints": ["11", 21, 2] * 3}, "not a number", "keypoints holds '11'"),
    ({"keypoints": [True, 21, 2] * 3}, "not a number", "keypoints holds True"),
    ({"keypoints": [float("nan"), 21, 2] * 3}, "coordinates not finite", r"joint top is \[nan, 21.0\]; known joints"),
    ({"keypoints": [11, 21, 2, 11, float("inf"), 2] * 2}, "wrong number of joints", "keypoints has 12"),
    ({"keypoints": [11, 21, 2, 11, float("-inf"), 1, 1, 1, 0]}, "coordinates not finite", "joint left_foot is"),
    ({"keypoints": [1e7, 21, 2] * 3}, "coordinates not finite", "below 1000000"),
    ({"keypoints": [11, 21, float("nan")] * 3}, "visibility not a number", "visibility of top is nan"),
    ({"keypoints": [11, 21, 0] * 3}, "no visible joint", "at least one joint must be known"),
    ({"keypoints": [9e5, 21, 2] * 3}, "joints far from the box", "both must be in image pixels"),
    ({"bbox": [10, 20, 0, 40]}, "box without area", r"bbox is \[10.0, 20.0, 0.0, 40.0\]; width and height must be"),
    ({"bbox": [10, 20, 30, -4]}, "box without area", "must be positive"),
    ({"bbox": [10, 20, 1e-60, 1e-60]}, "box without area", "must be positive"),
    ({"bbox": [float("nan"), 20, 30, 40]}, "box without area", "all values finite"),
    ({"bbox": [10, 20, 30]}, "box without 4 numbers", "bbox has 3 values; it must have 4"),
    ({"bbox": ...}, "missing field", "no bbox; it must hold 4 numbers"),
    ({"keypoints": ...}, "missing field", "no keypoints; it must hold 9 numbers"),
    ({"image_id": ...}, "missing field", "no image_id"),
    ({"image_id": "000139"}, "bad id", "image_id is '000139'; it must be an integer"),
    ({"area": 0}, "bad area", "area is 0; it must be a positive number"),
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


@pytest.mark.parametrize("annotation", [None, 5, "x", [], {}, {"keypoints": [1, 2, 3]}])
def test_what_is_no_annotation_at_all_is_named_by_its_row(tmp_path, annotation) -> None:
    reports: list[str] = []
    encode(write_json(tmp_path / "in.json", [person(1), annotation]), report=reports.append)
    assert "in.json: annotation in row 1: " in reports[0]


def test_crowds_and_other_categories_are_left_out_and_counted(tmp_path) -> None:
    annotations = [person(1), person(2, iscrowd=1), person(3, category_id=9, keypoints=...)]
    summary = encode(write_json(tmp_path / "in.json", annotations), strict=True)
    assert (summary.poses, summary.left_out, summary.skipped.total()) == (1, 2, 0)
    with pytest.raises(PoseFileError, match="only crowds and other categories"):
        encode(write_json(tmp_path / "in.json", annotations[1:]), tmp_path / "t2.parquet")


def test_a_file_of_bad_poses_only_is_an_error(tmp_path) -> None:
    source = write_json(tmp_path / "in.json", [person(i, bbox=[0, 0, 0, 0]) for i in range(3)])
    with pytest.raises(PoseFileError, match="none of 3 poses is good; the first: annotation 0: bbox is"):
        encode(source)
    assert [p.name for p in tmp_path.iterdir()] == ["in.json"]


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


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "in.json: the file is empty"),
        ("   ", "malformed"),
        ('{"categories": [], "annotations": [}', "malformed"),
        ('{"annotations": [{"id": 1', "malformed or truncated"),
        ("[1, 2]", "JSON list"),
        ('{"categories": [], "annotations": []}', "no entry of `categories` names its keypoints.* top, left_foot"),
        ('{"annotations": [{"id": 1}]}', "no entry of `categories`"),
        ("not json", "malformed"),
        ("\x80\x04", "malformed"),
    ],
)
def test_files_that_are_no_coco_file_are_named(tmp_path, text, sentence) -> None:
    (tmp_path / "in.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=sentence):
        encode(tmp_path / "in.json")
    assert [p.name for p in tmp_path.iterdir()] == ["in.json"]


def test_a_coco_file_truncated_anywhere_writes_nothing(tmp_path) -> None:
    source = write_json(tmp_path / "in.json", [person(i) for i in range(8)])
    data = source.read_bytes()
    for length in range(0, len(data) - 1, 61):
        source.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"in\.json"):
            encode(source, batch_size=2)
    assert [p.name for p in tmp_path.iterdir()] == ["in.json"]


def test_a_file_without_annotations_is_an_error(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"in\.json: no annotations"):
        encode(write_json(tmp_path / "in.json", []))


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
        ({"bbox": None, "boxes": np.ones((6, 4))}, "unknown array 'boxes'; did you mean 'bbox'"),
        ({"keypoint_names": np.array(["a", "b", "c"])}, "3 joints a, b, c; the model's skeleton triangle"),
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


def test_an_npz_file_truncated_or_damaged_anywhere_is_an_error(tmp_path) -> None:
    source = write_arrays(tmp_path / "in.npz")
    data = source.read_bytes()
    for length in range(0, len(data), 151):
        source.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"in\.npz"):
            encode(source)
    middle = data.index(b"keypoints.npy") + 200
    source.write_bytes(data[:middle] + b"\x00\xff" + data[middle + 2 :])
    with pytest.raises(NpzError, match="array 'keypoints' is damaged"):
        encode(source)
    assert [p.name for p in tmp_path.iterdir()] == ["in.npz"]


def test_npz_pieces_make_the_array_numpy_reads(tmp_path) -> None:
    array = np.arange(35, dtype=np.float32).reshape(7, 5)
    write_npz(tmp_path / "a.npz", {"x": (array.shape, array.dtype, [array[:3], array[3:3], array[3:]])})
    with np.load(tmp_path / "a.npz") as arrays:
        np.testing.assert_array_equal(arrays["x"], array)
    with NpzReader(tmp_path / "a.npz") as reader:
        assert [len(rows) for rows in reader.rows("x", 3)] == [3, 3, 1]
    with pytest.raises(ValueError, match="'x' got 3 rows; it must have 7"):
        write_npz(tmp_path / "b.npz", {"x": (array.shape, array.dtype, [array[:3]])})
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


def test_tokens_of_another_model_are_refused_naming_both(tmp_path) -> None:
    encode(write_arrays(tmp_path / "in.npz"), model_name="first")
    other = make_tokenizer(seed=1)
    with pytest.raises(TokenFileError) as caught:
        decode_file(other, tmp_path / "tokens.parquet", tmp_path / "out.json")
    for part in ("first", TOKENIZER.fingerprint(), other.fingerprint()):
        assert part in str(caught.value)
    assert not (tmp_path / "out.json").exists()


def test_a_table_of_no_poses_does_not_decode(tmp_path) -> None:
    encode(write_arrays(tmp_path / "in.npz"))
    with TokenReader(tmp_path / "tokens.parquet") as reader, TokenWriter(tmp_path / "t.parquet", reader.metadata):
        pass
    with pytest.raises(TokenFileError, match="no poses"):
        decode_file(TOKENIZER, tmp_path / "t.parquet", tmp_path / "out.json")


def test_outputs_are_checked_and_never_overwritten_unasked(tmp_path) -> None:
    source = write_arrays(tmp_path / "in.npz")
    with pytest.raises(OutputError, match=r"suffix '\.json'; it must be one of \.parquet"):
        encode(source, tmp_path / "t.json")
    with pytest.raises(OutputError, match="does not exist"):
        encode(source, tmp_path / "no" / "t.parquet")
    encode(source)
    with pytest.raises(FileExistsError, match="--force"):
        encode(source)
    encode(source, force=True)
    for name in ("out.json", "out.npz"):
        decode_file(TOKENIZER, tmp_path / "tokens.parquet", tmp_path / name)
        with pytest.raises(FileExistsError, match="--force"):
            decode_file(TOKENIZER, tmp_path / "tokens.parquet", tmp_path / name)
        decode_file(TOKENIZER, tmp_path / "tokens.parquet", tmp_path / name, force=True)
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        encode(source, tmp_path / "folder.parquet", force=True)
    assert not list(tmp_path.glob(".*"))


def test_inputs_of_other_kinds_are_refused(tmp_path) -> None:
    (tmp_path / "poses.json").mkdir()
    for name, sentence in (("poses.json", "this is a folder"), ("a.csv", "suffix is '.csv'"), ("a.json", "no such")):
        with pytest.raises(PoseFileError, match=sentence):
            encode(tmp_path / name)


def test_models_that_need_more_than_joints_are_refused(tmp_path) -> None:
    source = write_arrays(tmp_path / "in.npz")
    for changes, sentence in (
        ({"guidance_channels": 4}, "needs image features"),
        ({"space": PoseSpace(kind="root3d")}, "root3d"),
    ):
        with pytest.raises(ValueError, match=sentence):
            encode_file(make_tokenizer(**changes), source, tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="batch size"):
        encode(source, batch_size=0)


@pytest.mark.parametrize(("suffix", "few", "many"), [(".json", 1_000, 3_000), (".npz", 2_000, 6_000)])
def test_memory_does_not_depend_on_the_number_of_poses(tmp_path, suffix, few, many, monkeypatch) -> None:
    monkeypatch.setattr("pct.tokens._ROW_GROUP", 512)

    def peaks(count: int) -> list[int]:
        source, tokens = tmp_path / f"{count}{suffix}", tmp_path / f"{count}.parquet"
        if suffix == ".json":
            write_json(source, [person(i, image_id=3) for i in range(count)])
        else:
            np.savez(source, keypoints=np.tile([[[11.0, 21], [20, 30], [39, 59]]], (count, 1, 1)))
        result = []
        for work in (
            lambda: encode(source, tokens, batch_size=128),
            lambda: decode_file(TOKENIZER, tokens, tmp_path / f"{count}.out{suffix}", batch_size=128),
        ):
            tracemalloc.start()
            work()
            result.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        return result

    peaks(300)  # imports and caches
    for small, large in zip(peaks(few), peaks(many), strict=True):
        assert large < small + 100_000  # an annotation takes over 1,000 bytes as Python objects, a row of npz 48


def test_batches_of_a_file_are_no_longer_than_asked(tmp_path) -> None:
    source = write_json(tmp_path / "in.json", [person(i) for i in range(10)])
    assert [len(b.poses) for b in read_poses(source, TRIANGLE, 4)] == [4, 4, 2]
    assert [len(b.poses) for b in read_poses(write_arrays(tmp_path / "in.npz"), TRIANGLE, 4)] == [4, 2]


def test_progress_counts_every_annotation(tmp_path) -> None:
    done: list[int] = []
    annotations = [person(1), person(2, iscrowd=1), person(3, bbox=[0, 0, 0, 0]), person(4), person(5)]
    encode(write_json(tmp_path / "in.json", annotations), batch_size=2, progress=done.append)
    assert done == [2, 4, 5]


def test_a_table_as_text_and_back_is_the_same_table(tmp_path) -> None:
    table, text, again = tmp_path / "tokens.parquet", tmp_path / "t.txt", tmp_path / "again.parquet"
    encode(write_arrays(tmp_path / "in.npz"), model_name="tiny")
    assert table_to_text(table, text) == 6
    assert text_to_table(TOKENIZER, text, again, "tiny", like=table) == 6
    assert again.read_bytes() == table.read_bytes()
    text_to_table(TOKENIZER, text, again, force=True)
    tokens = read(again)
    np.testing.assert_array_equal(tokens.indices, read(table).indices)
    assert tokens.annotation_ids.tolist() == [0, 1, 2, 3, 4, 5]
    units = TOKENIZER.decode(torch.from_numpy(tokens.indices))
    pixels = TOKENIZER.decode(torch.from_numpy(tokens.indices), torch.from_numpy(tokens.bbox))
    np.testing.assert_allclose(pixels, (units + 1) * 128, atol=1e-3)


def test_text_that_does_not_fit_is_named_by_its_line(tmp_path) -> None:
    table, text, again = tmp_path / "tokens.parquet", tmp_path / "t.txt", tmp_path / "again.parquet"
    encode(write_arrays(tmp_path / "in.npz"))
    table_to_text(table, text)
    lines = text.read_text().splitlines()
    for wrong, like, sentence in (
        ([*lines[:2], "", "hello"], None, "line 4, character 0: expected <pose>"),
        ([lines[0], "<pose><p1></pose>"], None, "line 2 has 1 tokens; a pose of this model has 4"),
        ([lines[0], "<pose><p1><p2><p3><p32></pose>"], None, "line 2, character 18: id 32 is outside the codebook"),
        (lines[:3], table, "more poses than the 3 lines"),
        ([*lines, lines[0]], table, "only 6 poses, fewer than the lines"),
        ([], None, "no poses"),
    ):
        text.write_text("\n".join(wrong))
        with pytest.raises(TokenFileError, match=sentence):
            text_to_table(TOKENIZER, text, again, like=like)
        assert not again.exists()


def test_a_broken_parquet_file_of_poses_is_named(tmp_path) -> None:
    (tmp_path / "in.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ParquetError, match="no Parquet file"):
        encode(tmp_path / "in.parquet")


@pytest.mark.shared
def test_every_real_person_is_encoded(shared_dir, tmp_path) -> None:
    source = shared_dir / "data" / "coco" / "annotations" / "person_keypoints_val2017.json"
    tokenizer = make_tokenizer(skeleton=COCO17)
    summary = encode_file(tokenizer, source, tmp_path / "t.parquet", strict=True)
    annotations = json.loads(source.read_text())["annotations"]
    tokens = read(tmp_path / "t.parquet")
    assert summary.poses == len(annotations)
    assert tokens.annotation_ids.tolist() == [a["id"] for a in annotations]
    np.testing.assert_array_equal(tokens.bbox, np.array([a["bbox"] for a in annotations], np.float32))
