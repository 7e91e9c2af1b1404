"""What counts as a pose and what its coordinates mean, whatever file it comes from."""

from __future__ import annotations

import gzip
import json
import re
import struct
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pct.cli.main import main
from pct.files.pose_checks import PoseBatch
from pct.files.pose_files import PoseFileError, load_keypoint_file, read_poses
from pct.skeleton import COCO17, MPII16, Skeleton
from pct.training.tokenizer.config import PoseData
from pct.training.tokenizer.data import load_split

JOINTS = np.random.default_rng(0).uniform(50, 300, (17, 2)).round(1)
CATEGORY = {"id": 1, "name": "player", "keypoints": list(COCO17.keypoint_names)}
MPII_PERSON = {
    "image": "a.jpg",
    "joints": JOINTS[:16].tolist(),
    "joints_vis": [1] * 16,
    "center": [170, 170],
    "scale": 1.25,
}


def person(id_: Any, **changes: Any) -> dict[str, Any]:
    flat = np.concatenate([JOINTS, np.full((17, 1), 2)], axis=1).ravel().tolist()
    plain = {"id": id_, "image_id": 7, "category_id": 1, "bbox": [50, 50, 250, 250], "area": 900, "keypoints": flat}
    return {**plain, **changes}


def coco(annotations: list[Any], *categories: dict[str, Any]) -> str:
    return json.dumps({"categories": categories or [CATEGORY], "annotations": annotations})


def read_one(path: Path, skeleton: Skeleton = COCO17) -> PoseBatch:
    (batch,) = read_poses(path, skeleton)
    return batch


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "poses.json"


def test_repeated_ids_are_read_and_counted_however_the_file_is_cut(file: Path) -> None:
    ids = [5, 9, 9, 2, 5, 7, 1, 5]
    file.write_text(coco([person(id_) for id_ in ids]))
    for size in (1, 2, 3, 8):
        batches = list(read_poses(file, COCO17, size))
        assert [id_ for batch in batches for id_ in batch.poses.annotation_ids.tolist()] == ids
        assert sum(batch.odd.total() for batch in batches) == 3
    notes: list[str] = []
    assert len(load_keypoint_file(file, note=notes.append)) == 8
    assert notes == [f"{file}: 3 poses have the id of an earlier pose; all of them are read"]


@pytest.mark.parametrize("category", ["referee", "2", 2])
def test_a_category_is_chosen_by_name_or_id(file: Path, category: str | int) -> None:
    file.write_text(coco([person(1), person(2, category_id=2)], CATEGORY, {**CATEGORY, "id": 2, "name": "referee"}))
    (batch,) = read_poses(file, COCO17, category=category)
    assert (batch.poses.annotation_ids.tolist(), dict(batch.left_out)) == ([2], {"category 'player' (id 1)": 1})
    assert load_keypoint_file(file, category=category).annotation_ids.tolist() == [2]
    file.write_text(json.dumps([person(1), person(2, category_id=2)]))
    if category != "referee":
        (batch,) = read_poses(file, COCO17, category=category)
        assert batch.poses.annotation_ids.tolist() == [2]
        return
    with pytest.raises(PoseFileError, match="COCO results name no categories; choose 'referee' by its id"):
        list(read_poses(file, COCO17, category=category))


@pytest.mark.parametrize(
    "changes", [{"category_id": "1"}, {"category_id": True}, {"category_id": 1.0}, {"iscrowd": "0"}, {"iscrowd": [1]}]
)
def test_wrong_types_are_said_and_do_not_choose(file: Path, changes: dict[str, Any]) -> None:
    file.write_text(coco([person(1, **changes), person(2, iscrowd=False)]))
    batch = read_one(file)
    assert batch.poses.annotation_ids.tolist() == [2]
    (name,) = changes
    assert f"annotation 1: {name} is {changes[name]!r}; it must be" in str(batch.faults[0])


def test_all_categories_with_the_joints_are_read_and_others_are_named(file: Path) -> None:
    kite = {"id": 3, "name": "kite"}
    people = [person(1), person(2, category_id=2), person(3, category_id=3), person(4, iscrowd=1)]
    people.append(person(5, keypoints=[5, 5, 0] * 17, bbox=[0, 0, 0, 0]))
    file.write_text(coco(people, CATEGORY, {**CATEGORY, "id": 2, "name": "referee"}, kite))
    batch = read_one(file)
    assert batch.poses.annotation_ids.tolist() == [1, 2]
    assert batch.left_out == {"category 'kite' (id 3)": 1, "crowds": 1, "persons without a labelled joint": 1}
    assert load_keypoint_file(file).annotation_ids.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("category", "message"),
    [
        *(({**CATEGORY, "id": bad}, "category 'player': id is .* an integer of 64 bits") for bad in ("1", True)),
        *(({**CATEGORY, "keypoints": bad}, "`keypoints` .* must be a list of names") for bad in (3, [1, 2])),
        ({"id": 1, "name": "dog", "keypoints": ["a", "b"]}, "two categories have the id 1 and different keypoints"),
    ],
)
def test_bad_categories_are_named(file: Path, category: dict[str, Any], message: str) -> None:
    file.write_text(coco([person(1)], CATEGORY, {**CATEGORY, "name": "again"}))
    assert len(read_one(file).poses) == 1
    file.write_text(coco([person(1)], CATEGORY, category))
    with pytest.raises(PoseFileError, match=rf"poses\.json: {message}"):
        read_one(file)


@pytest.mark.parametrize(
    ("command", "ending"), [("encode", ".parquet"), ("evaluate", ""), ("visualize", ".png"), ("lift", ".npz")]
)
def test_a_file_that_names_no_joints_is_refused(
    file: Path, capsys: pytest.CaptureFixture[str], command: str, ending: str
) -> None:
    file.write_text(coco([person(1)], {"id": 1, "name": "player"}))
    assert main([command, str(file), "-o", str(file.with_name(f"out{ending}"))]) == 1
    error = capsys.readouterr().err
    assert "joint" in error
    assert "COCO results" not in error


def test_a_run_takes_joints_without_names_from_somebody_who_knows_them_only(file: Path) -> None:
    file.write_text(coco([person(1)], {"id": 1, "name": "player"}))
    section = PoseData(num_generated=100, val=str(file))
    with pytest.raises(PoseFileError, match=r"poses\.json: no category names its keypoints"):
        load_split(section, False, 0)
    assert len(load_split(replace(section, skeleton="coco17"), False, 0).val) == 1


@pytest.mark.parametrize("bones", [[[0, 1]], [[1, 2], [2, 9]], [[1, 1]], [3], 3, [["a", "b"]]])
def test_bones_of_a_category_are_named_as_they_stand_in_the_file(file: Path, bones: Any) -> None:
    file.write_text(coco([person(1)], {"id": 1, "name": "mouse", "keypoints": ["a", "b"], "skeleton": bones}))
    wrong = re.escape(str(bones[-1] if isinstance(bones, list) else bones))
    with pytest.raises(PoseFileError, match=rf"poses\.json: category mouse: bone {wrong} .* counted from 1 to 2"):
        load_keypoint_file(file)


@pytest.mark.parametrize("kind", ["gzip", "utf-8-sig", "utf-16", "utf-16-le"])
def test_packed_and_marked_files_are_read(tmp_path: Path, kind: str) -> None:
    text = coco([person(1, note="\u00e9\u4e2d")])
    path = tmp_path / ("poses.json.gz" if kind == "gzip" else "poses.json")
    mark = "\ufeff" if kind == "utf-16-le" else ""
    path.write_bytes(gzip.compress(text.encode()) if kind == "gzip" else (mark + text).encode(kind))
    assert read_one(path).poses.annotation_ids.tolist() == [1]
    path.write_bytes(path.read_bytes()[:-101])
    with pytest.raises(ValueError, match=r"poses\.json.*: malformed or truncated"):
        read_one(path)


def test_ids_beyond_64_bits_are_named_and_those_within_are_not(file: Path) -> None:
    file.write_text(coco([person(2**70), person(2**63 - 1), person(1, note=f" {2**70}, ")]))
    batch = read_one(file)
    assert batch.poses.annotation_ids.tolist() == [2**63 - 1, 1]
    assert str(batch.faults[0]) == f"annotation in row 0: id is {2**70}; it must be an integer of 64 bits"


def test_area_zero_is_an_unknown_area(file: Path) -> None:
    file.write_text(coco([person(1, area=0)]))
    assert read_one(file).poses.area.isnan().all()
    assert load_keypoint_file(file).area.tolist() == pytest.approx([0.52 * 250 * 250])


@pytest.mark.parametrize("boxed", [True, False])
def test_coco_results_are_poses_but_no_labels(file: Path, boxed: bool) -> None:
    result = person(5, score=0.5)
    left_out = ("id", "area", "category_id") if boxed else ("id", "area", "bbox")
    file.write_text(json.dumps([{k: v for k, v in result.items() if k not in left_out}] * 2))
    batch = read_one(file)
    assert batch.poses.annotation_ids.tolist() == [0, 1]
    assert (batch.poses.bbox[0].tolist() == [50, 50, 250, 250]) == boxed
    with pytest.raises(ValueError, match=r"poses\.json: these are COCO results, predictions without labels"):
        load_keypoint_file(file, COCO17)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_mpii_persons_are_poses_of_their_skeleton(file: Path, mark: str) -> None:
    file.write_text(mark + json.dumps([MPII_PERSON]), encoding="utf-8")
    np.testing.assert_allclose(read_one(file, MPII16).poses.keypoints[0], JOINTS[:16] - 1, rtol=1e-6)
    assert load_keypoint_file(file).skeleton == MPII16
    with pytest.raises(ValueError, match="16 joints of mpii16; the model's skeleton coco17 has the 17"):
        load_keypoint_file(file, COCO17)


@pytest.mark.parametrize("number", ["-1e308", "1e400", "1" + "0" * 400])
def test_absurd_numbers_of_mpii_are_named(file: Path, number: str) -> None:
    file.write_text(json.dumps([MPII_PERSON]).replace(str(JOINTS[0, 0]), number, 1))
    with pytest.raises(ValueError, match=r"poses\.json: .*(finite numbers below 1000000|malformed)"):
        load_keypoint_file(file, MPII16)


def read_arrays(folder: Path, **arrays: Any) -> PoseBatch:
    np.savez(folder / "poses.npz", **arrays)
    return read_one(folder / "poses.npz")


@pytest.mark.parametrize("hole", [np.nan, 0.0])
def test_holes_without_visibility_are_unknown_joints(tmp_path: Path, hole: float) -> None:
    keypoints = np.stack([JOINTS, JOINTS])
    keypoints[1, 13:] = hole
    batch = read_arrays(tmp_path, keypoints=keypoints)
    assert (batch.odd.total(), batch.poses.visible.sum(dim=1).tolist()) == (1, [17, 13])
    assert batch.poses.bbox[1, :2].min() > 1
    assert not read_arrays(tmp_path, keypoints=keypoints, visible=np.ones((2, 17))).odd


@pytest.mark.parametrize(
    ("joints", "box", "kind"),
    [
        (JOINTS / 640, None, "shares of the image"),
        (JOINTS / 250, None, "shares of the image"),  # trackers go on outside the image
        (JOINTS, [0.1, 0.1, 0.5, 0.5], "joints far from the box"),
        (JOINTS + 5, [3000, 3000, 100, 100], "joints far from the box"),
        (JOINTS + 5, [50, 50, 1, 1], "joints far from the box"),
        (JOINTS + 5, [-900, 50, 200, 200], "joints far from the box"),
    ],
)
def test_shares_and_boxes_of_somebody_else_are_faults_of_their_poses(
    tmp_path: Path, joints: np.ndarray, box: list[float] | None, kind: str
) -> None:
    boxes = {} if box is None else {"bbox": np.array([box, [150, 150, 60, 60]])}
    batch = read_arrays(tmp_path, keypoints=np.stack([joints, JOINTS]), **boxes)
    assert [(fault.where, fault.kind) for fault in batch.faults] == [("row 0", kind)]


@pytest.mark.filterwarnings("error")
def test_areas_that_are_none_are_faults_and_zero_is_unknown(tmp_path: Path) -> None:
    batch = read_arrays(tmp_path, keypoints=np.stack([JOINTS] * 6), area=np.array([0, -1, np.inf, 1e99, np.nan, 500]))
    assert [(fault.where, fault.kind) for fault in batch.faults] == [(f"row {i}", "bad area") for i in (1, 2, 3)]
    np.testing.assert_array_equal(batch.poses.area.numpy(), [np.nan, np.nan, 500])


def test_joints_that_a_detector_did_not_find_are_unknown_in_its_results(file: Path) -> None:
    flat = np.concatenate([JOINTS, np.full((17, 1), 0.3)], axis=1)
    flat[2], flat[3], flat[4] = (0, 0, 0.2), (np.nan, np.nan, np.nan), (0, 0, 0)
    file.write_text(json.dumps([{"image_id": 1, "category_id": 1, "score": 1, "keypoints": flat.ravel().tolist()}]))
    batch = read_one(file)
    assert (batch.faults, batch.odd.total(), int(batch.poses.visible.sum())) == ((), 1, 14)
    assert batch.poses.bbox[0, :2].min() > 1


def test_a_file_without_a_good_pose_is_refused_with_the_first_reason(file: Path) -> None:
    file.write_text(coco([person(1, area=-1), person(2, iscrowd=1), person(3, bbox=[])]))
    with pytest.raises(ValueError, match=r"none of 2 poses is good; the first: annotation 3: bbox has 0 values"):
        load_keypoint_file(file, report=lambda _: None)
    file.write_text(coco([person(2, iscrowd=1)]))
    with pytest.raises(ValueError, match=r"no person with a labelled joint, only crowds and other .*: 1 crowds"):
        load_keypoint_file(file)


@pytest.mark.parametrize(
    ("packing", "rows", "fortran", "megabytes", "message"),
    [
        (zipfile.ZIP_STORED, 10**8, True, 0, "array 'keypoints' needs 3,242 MB of memory at once"),
        (zipfile.ZIP_LZMA, 10, False, 1, "array 'keypoints' is packed in a way that NumPy does not use"),
        (zipfile.ZIP_BZIP2, 10, True, 1, "array 'keypoints' is packed in a way that NumPy does not use"),
        (zipfile.ZIP_DEFLATED, 10**7, False, 300, "array 'keypoints' unpacks from .* bytes, as no poses do"),
    ],
)
def test_arrays_that_unpack_to_more_than_memory_are_refused_unread(
    tmp_path: Path, packing: int, rows: int, fortran: bool, megabytes: int, message: str
) -> None:
    header = {"descr": "|i1", "fortran_order": fortran, "shape": (rows, 17, 2)}
    path = tmp_path / "poses.npz"
    with zipfile.ZipFile(path, "w", packing) as archive, archive.open("keypoints.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, header)
        for _ in range(megabytes):
            member.write(bytes(1 << 20))
    with pytest.raises(ValueError, match=rf"poses\.npz: {message}"):
        read_one(path)


@pytest.mark.parametrize("packed", [False, True])
def test_an_archive_whose_directory_lacks_an_array_is_damaged(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "poses.npz"
    (np.savez_compressed if packed else np.savez)(path, keypoints=JOINTS[None], visible=np.ones((1, 17)))
    data = path.read_bytes()
    start = data.index(b"PK\x01\x02")
    cut = data.index(b"PK\x01\x02", start + 4)
    end = bytearray(data[data.index(b"PK\x05\x06") :])
    end[8:12] = (1).to_bytes(2, "little") * 2
    end[12:16] = (cut - start).to_bytes(4, "little")
    path.write_bytes(data[:cut] + end)
    with pytest.raises(ValueError, match=r"poses\.npz: damaged: the directory of the archive does not list all"):
        read_one(path)
    # Or it says that the second array begins behind the end of the file.
    lies, far = bytearray(data), 10**6
    lies[start + 20 : start + 24] = struct.pack("<I", far)
    lies[cut + 42 : cut + 46] = struct.pack("<I", 30 + sum(struct.unpack("<HH", data[26:30])) + far)
    path.write_bytes(lies)
    with pytest.raises(ValueError, match=r"poses\.npz: damaged: the directory of the archive does not list all"):
        read_one(path)


def test_a_huge_list_in_a_parquet_file_is_refused_unread(tmp_path: Path) -> None:
    values = pa.array(np.zeros(20_000_000, np.float32))
    lists = pa.ListArray.from_arrays(pa.array([0, 20_000_000], pa.int32()), values)
    pq.write_table(pa.table({"keypoints": lists}), tmp_path / "poses.parquet", compression="zstd")
    with pytest.raises(ValueError, match=r"poses\.parquet: column 'keypoints' holds 20,000,000 numbers in 1 rows"):
        read_one(tmp_path / "poses.parquet")
