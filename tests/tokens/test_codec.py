"""The codec: order, ids and boxes stay from file to tokens to file; outputs are whole or not there; memory."""

from __future__ import annotations

import contextlib
import io
import json
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
from tiny_codec import TOKENIZER, TRIANGLE, encode, make_tokenizer, person, read, write_arrays, write_json

from pct.files.output import OutputError
from pct.files.pose_files import count_poses
from pct.geometry import bbox_from_keypoints
from pct.pose_space import PoseSpace
from pct.skeleton import COCO17
from pct.tokens.codec import decode_file, encode_file
from pct.tokens.metadata import TokenFileError
from pct.tokens.table import PoseTokens, TokenReader, TokenWriter

pixels = st.integers(-20_000, 200_000).map(lambda x: x / 100)
joints = st.lists(st.tuples(pixels, pixels, st.sampled_from([0, 1, 2])), min_size=3, max_size=3).filter(
    lambda pose: any(v for _, _, v in pose)
)
# As large as the joints are far apart: boxes far from all joints are faults.
boxes = st.tuples(pixels, pixels, *[st.integers(110_000, 999_999).map(lambda x: x / 100)] * 2)
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
        np.testing.assert_allclose(arrays["keypoints"], expected, rtol=1e-5, atol=1e-4)
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


def test_models_that_need_more_than_joints_are_refused(tmp_path) -> None:
    source = write_arrays(tmp_path / "in.npz")
    for changes, sentence in (
        ({"guidance_channels": 4}, "needs image features"),
        ({"space": PoseSpace(kind="root3d")}, "these are 2D poses, and the model's are 3D"),
    ):
        with pytest.raises(ValueError, match=sentence):
            encode_file(make_tokenizer(**changes), source, tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="batch size"):
        encode(source, batch_size=0)


@pytest.mark.parametrize(("suffix", "few", "many"), [(".json", 1_000, 3_000), (".npz", 1_000, 4_000)])
def test_memory_does_not_depend_on_the_number_of_poses(tmp_path, suffix, few, many, monkeypatch) -> None:
    monkeypatch.setattr("pct.tokens.table._ROW_GROUP", 512)

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


def test_progress_counts_every_annotation(tmp_path) -> None:
    done: list[int] = []
    annotations = [person(1), person(2, iscrowd=1), person(3, bbox=[0, 0, 0, 0]), person(4), person(5)]
    encode(write_json(tmp_path / "in.json", annotations), batch_size=2, progress=done.append)
    assert done == [2, 4, 5]


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
