"""Archives to parts of token tables without Ray: the ids of `pct predict`, broken photos as rows, resuming."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tiny_cli import run
from tiny_codec import make_ordered, make_tokenizer, read
from tiny_photo_models import make_classifier

from pct.bulk.encode import EncodePhotos, EncodePoses
from pct.bulk.parts import done_ids, join_parts
from pct.bulk.photo_rows import find_photo_rows, photo_bytes
from pct.geometry import bbox_from_keypoints
from pct.pose_space import PoseSpace
from pct.skeleton import H36M17
from pct.tokenizer import PoseTokenizer
from pct.tokens.metadata import TokenFileError

PICTURES = Path(__file__).parents[2] / "docs" / "pictures" / "coco"


def columns(rows: list[dict]) -> dict[str, list]:
    """Return rows as a batch."""
    return {name: [row[name] for row in rows] for name in rows[0]}


@pytest.fixture
def archive(here: Path) -> Path:
    """A folder of four real photos, one without a person and two broken ones, and the same as ``archive.tar``."""
    folder = here / "archive"
    (folder / "more").mkdir(parents=True)
    for number, photo in enumerate(sorted(PICTURES.glob("*.jpg"))):
        shutil.copy(photo, folder / ("more" if number % 2 else ".") / photo.name)
    Image.new("RGB", (64, 48), (90, 120, 160)).save(folder / "000000000007.jpg")
    (folder / "000000000008.jpg").write_bytes((PICTURES / "000000000785.jpg").read_bytes()[:5000])
    (folder / "000000000009.jpg").touch()
    with tarfile.open(here / "archive.tar", "w") as tar:
        tar.add(folder, arcname="")
    return folder


def test_photos_get_the_tokens_of_pct_predict_and_broken_ones_a_row(archive: Path, capsys) -> None:
    rows = find_photo_rows(archive)
    assert len(rows) == 7
    encode = EncodePhotos(out="parts")
    found = [row for start in (0, 4) for row in encode(columns(rows[start : start + 4])).to_pylist()]
    summary = join_parts("parts", "tokens.parquet", encode.estimator.model.tokenizer, "photos/tokenizer")
    assert run(capsys, "predict", "archive", "-o", "predicted", "--no-draw")[0] == 0
    ours, theirs = read(Path("tokens.parquet")), read(Path("predicted/tokens.parquet"))

    def sort(table):
        order = np.lexsort((table.bbox[:, 0], table.image_ids))
        return table.image_ids[order], table.indices[order], table.bbox[order]

    for mine, predicted in zip(sort(ours), sort(theirs), strict=True):
        np.testing.assert_array_equal(mine, predicted)
    predicted = sorted(entry["score"] for entry in json.loads(Path("predicted/keypoints.json").read_text()))
    # Other batches round otherwise.
    assert sorted(r["score"] for r in found if r["score"] is not None) == pytest.approx(predicted, abs=5e-5)
    assert (summary.poses, summary.ids, summary.empty) == (len(theirs), 7, 1)
    assert set(summary.errors) == {"000000000008.jpg", "000000000009.jpg"}
    assert "the photo is empty" in summary.errors["000000000009.jpg"]


def test_rows_of_a_folder_a_tar_and_parquet_give_the_same_bytes(archive: Path) -> None:
    folder, tar = (sorted(find_photo_rows(source), key=lambda row: row["id"]) for source in (archive, "archive.tar"))
    assert [row["id"] for row in folder] == [row["id"] for row in tar]
    for number, row in enumerate(folder):
        data = (archive / row["id"]).read_bytes()
        for batch in (columns(folder), columns(tar), {"bytes": [b""] * number + [data]}):
            assert photo_bytes(batch, number) == data


@pytest.mark.parametrize(
    ("place", "model"), [("bbox", {}), ("root", {"skeleton": H36M17, "space": PoseSpace("root3d")})]
)
def test_boxes_of_a_batch_take_the_detectors_place(archive: Path, place: str, model: dict) -> None:
    rows = find_photo_rows(archive)
    boxes = {"000000000785.jpg": [[280, 44, 218, 346]], "000000000007.jpg": [[100, 0, 10, 10]]}
    rows = [{**row, "boxes": boxes[row["id"]]} for row in rows if row["id"] in boxes]
    make_classifier(**model).save_pretrained("tiny")
    bad, good = EncodePhotos("tiny")(columns(rows)).to_pylist()
    assert (good["person"], good["error"], len(good["tokens"]), len(good[place])) == (0, None, 6, 4 - (place == "root"))
    assert (bad["person"], bad["tokens"]) == (-1, None)
    assert "lies outside the photo of 64x48 pixels" in bad["error"]


def test_a_run_goes_on_where_it_was_killed_and_repeats_are_dropped(here: Path) -> None:
    make_tokenizer().save_pretrained("model")
    encode = EncodePoses("model", out="parts")
    keypoints = np.random.default_rng(0).uniform(10, 200, (10, 3, 2)).astype(np.float32)
    keypoints[6] = np.nan
    rows = [{"id": 100 + number, "keypoints": pose} for number, pose in enumerate(keypoints)]
    encode(columns(rows[:4]))
    first = sorted(os.listdir("parts"))
    encode(columns(rows[:4]))  # written, and killed before anybody knew
    assert sorted(os.listdir("parts")) == first
    encode(columns(rows[2:5]))  # another run beside it
    left = [row for row in rows if row["id"] not in done_ids("parts", encode.fingerprint)]
    assert [row["id"] for row in left] == [105, 106, 107, 108, 109]
    encode(columns(left))
    summary = join_parts("parts", "tokens.parquet", encode.tokenizer)
    assert (summary.poses, summary.repeated, list(summary.errors)) == (9, 2, [106])
    assert "no visible joint" in summary.errors[106]
    table = read(Path("tokens.parquet"))
    assert table.image_ids.tolist() == [100, 101, 102, 103, 104, 105, 107, 108, 109]
    poses = torch.from_numpy(np.delete(keypoints, 6, axis=0))
    boxes = bbox_from_keypoints(poses, torch.ones(9, 3, dtype=torch.bool))
    np.testing.assert_array_equal(table.bbox, boxes.numpy())
    np.testing.assert_array_equal(table.indices, encode.tokenizer.encode(poses, bbox=boxes).numpy())
    with pytest.raises(FileExistsError, match=r"tokens\.parquet exists"):
        join_parts("parts", "tokens.parquet", encode.tokenizer)
    other = make_tokenizer(seed=1)
    for ask in (lambda: done_ids("parts", other.fingerprint()), lambda: join_parts("parts", "o.parquet", other)):
        with pytest.raises(TokenFileError, match="use another folder"):
            ask()


def test_parts_of_3d_poses_are_a_table_of_3d_poses(here: Path) -> None:
    make_ordered(skeleton=H36M17, space=PoseSpace(kind="root3d")).save_pretrained("model")
    poses = np.random.default_rng(0).normal(0, 300, (4, 17, 3)).astype(np.float32)
    EncodePoses("model", out="parts")({"id": ["a", "b", "c", "d"], "keypoints": poses})
    tokenizer = PoseTokenizer.from_pretrained("model")
    assert join_parts("parts", "tokens.parquet", tokenizer).poses == 4
    table = read(Path("tokens.parquet"))
    np.testing.assert_array_equal(table.reference, poses[:, 0])
    np.testing.assert_array_equal(table.indices, tokenizer.encode(torch.from_numpy(poses)).numpy())
    assert table.image_ids.tolist() == [1, 2, 3, 4]


def test_rows_say_which_model_made_them(here: Path) -> None:
    make_tokenizer().save_pretrained("model")
    encode = EncodePoses("model", out="parts")
    encode({"id": [1], "keypoints": np.ones((1, 3, 2)) * [[1], [50], [80]]})
    (part,) = Path("parts").iterdir()
    assert pq.read_table(part)["fingerprint"].to_pylist() == [PoseTokenizer.from_pretrained("model").fingerprint()]
    assert json.loads(Path("model/config.json").read_text())["kind"] == "pose_tokenizer"


@pytest.mark.parametrize(
    ("name", "words"),
    [("nothing", "no such folder or archive"), ("text.tar", "no uncompressed tar file"), ("empty.tar", "no photo in")],
)
def test_what_is_no_archive_is_one_sentence(name: str, words: str, here: Path) -> None:
    Path("text.tar").write_text("not a tar file, though it is long enough to be read as one" * 20)
    with tarfile.open("empty.tar", "w") as tar:
        tar.add(__file__, arcname="a.py")
    with pytest.raises(ValueError, match=words):
        find_photo_rows(name)
