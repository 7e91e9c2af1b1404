"""`pct predict` as people call it: what it writes, what it says, and how it fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_photo_models import make_heatmap_model, make_varied_classifier
from tiny_videos import write_video

from pct.cli import main as cli
from pct.files.photo_inputs import PhotoInput
from pct.files.video import VideoReader
from pct.photos.detection import detector
from pct.photos.estimator import PoseEstimator
from pct.photos.results.predict_files import predict_files
from pct.tokens.table import TokenReader


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_varied_classifier().save_pretrained(folder)
    return str(folder)


def make_photo(path: Path, seed: int = 0, size: tuple[int, int] = (60, 80)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    return path


def write_boxes(path: Path, boxes: dict[int, list]) -> None:
    entries = [{"image_id": i, "category_id": 1, "bbox": b, "score": 0.5} for i, of_it in boxes.items() for b in of_it]
    path.write_text(json.dumps(entries))


Predict = Callable[..., tuple[int, str]]


@pytest.fixture
def predict(here, model, capsys) -> Predict:
    """`pct predict` with the tiny model, unless another is named: its status and what it says."""

    def run(*argv: object) -> tuple[int, str]:
        status = cli.main(["predict", "--model", model, *map(str, argv)])
        return status, capsys.readouterr().err

    return run


def results(folder: str = "predictions") -> list[dict]:
    return json.loads(Path(folder, "keypoints.json").read_text())


def read_tokens(folder: Path):
    with TokenReader(folder / "tokens.parquet") as reader:
        return reader.read()


def test_photos_with_boxes_give_results_tokens_and_pictures(here, model, predict: Predict) -> None:
    for number in (3, 4, 5):
        make_photo(here / f"in/00{number}.png", number)
    write_boxes(here / "boxes.json", {3: [[5, 5, 20, 40], [30, 10, 40, 30]], 5: [[10, 10, 30, 30]], 4: []})
    status, said = predict("in", "--boxes", "boxes.json", "-o", "out", "--batch-size", 2)
    assert (status, said) == (0, "found 3 poses on 3 photos; results: out\n")
    entries = results("out")
    assert [(e["image_id"], e["id"], e["file_name"]) for e in entries] == [
        (3, 1, "003.png"), (3, 2, "003.png"), (5, 3, "005.png")
    ]  # fmt: skip
    expected = PoseEstimator.from_pretrained(model).predict(here / "in/003.png", [[5, 5, 20, 40], [30, 10, 40, 30]])
    joints = np.array(entries[1]["keypoints"]).reshape(17, 3)
    np.testing.assert_allclose(joints[:, :2], expected.keypoints[1], atol=0.011)
    np.testing.assert_allclose(joints[:, 2], expected.scores[1], atol=1e-3)
    assert entries[1]["score"] == pytest.approx(0.5 * expected.pose_scores[1], abs=1e-3)
    assert entries[1]["bbox"] == [30, 10, 40, 30]
    np.testing.assert_allclose(entries[1]["token_probs"], expected.token_probs[1], atol=1e-3)
    assert sorted(p.name for p in (here / "out").iterdir()) == ["drawn", "keypoints.json", "tokens.parquet"]
    assert sorted(p.name for p in (here / "out/drawn").iterdir()) == [f"00{n}.png.jpg" for n in (3, 4, 5)]

    tokens = read_tokens(here / "out")
    assert (tokens.image_ids.tolist(), tokens.annotation_ids.tolist()) == ([3, 3, 5], [1, 2, 3])
    assert cli.main(["decode", "out/tokens.parquet", "-o", "poses.json", "--model", f"{model}/tokenizer"]) == 0
    decoded = [a["keypoints"] for a in json.loads(Path("poses.json").read_text())["annotations"]]
    np.testing.assert_allclose(np.reshape(decoded, (3, 17, 3))[:2, :, :2], expected.likely_keypoints, atol=0.02)


def test_tokens_of_inputs_that_are_not_square_decode_to_their_poses(tmp_path) -> None:
    estimator = PoseEstimator(make_varied_classifier(image_size=(64, 32)))
    photo = PhotoInput(make_photo(tmp_path / "1.png"), "1.png", False)
    box = np.array([[20.0, 10, 40, 30]])
    predict_files(estimator, [photo], tmp_path / "out", image_ids={}, find_boxes=lambda _: (box, np.ones(1)))
    tokens = read_tokens(tmp_path / "out")
    decoded = estimator.model.tokenizer.decode(torch.from_numpy(tokens.indices), torch.from_numpy(tokens.bbox))
    np.testing.assert_allclose(decoded, estimator.predict(photo.path, box).likely_keypoints, atol=1e-3)


def test_bad_and_unknown_photos_and_bad_boxes_are_reported_and_skipped(here, predict: Predict) -> None:
    for name in ("1.png", "2.png", "4.png", "beach.png"):
        make_photo(here / "in" / name)
    (here / "in/2.png").write_bytes((here / "in/2.png").read_bytes()[:500])
    (here / "in/3.jpg").write_text("no photo")
    write_boxes(here / "boxes.json", {1: [[500, 5, 20, 40], [5, 5, 20, 40]], 2: [[5, 5, 20, 40]]})
    status, said = predict("in", "--boxes", "boxes.json", "--no-draw")
    assert status == 0
    wanted = [
        "pct: skipped: 1.png: bbox of row 0 is [500.0, 5.0, 20.0, 40.0]; it lies outside the photo of 80x60",
        "2.png: the photo is damaged or truncated",
        "3.jpg: not a photo",
        "beach.png: boxes.json does not know this photo",
        "found 1 poses on 3 photos; results: predictions; skipped 2 unreadable files; skipped 1 bad boxes",
    ]
    for line, words in zip(said.splitlines(), wanted, strict=True):
        assert words in line
    assert [entry["file_name"] for entry in results()] == ["1.png"]
    assert not (here / "predictions/drawn").exists()


def test_every_photo_is_drawn_whatever_it_is_called_and_drawn_ones_are_no_photos(here, predict: Predict) -> None:
    for name in ("a.png", "a.png.jpg/c.png", "b.png", "b.png.jpg", "x" * 250 + ".png"):
        make_photo(here / "in" / name)
    for force in ([], ["--force"]):
        assert predict("in", "--whole-photos", "-o", "in", *force) == (0, "found 5 poses on 5 photos; results: in\n")
        assert sum(path.is_file() for path in (here / "in/drawn").rglob("*")) == 5


def write_named_boxes(path: Path, names: list[str]) -> None:
    images = [{"id": number, "file_name": name, "width": 80, "height": 60} for number, name in enumerate(names, 1)]
    boxes = [{"id": i["id"], "image_id": i["id"], "category_id": 1, "bbox": [5 * i["id"], 5, 20, 40]} for i in images]
    categories = [{"id": 1, "name": "person"}]
    path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))


@pytest.mark.parametrize("names", [["cam1/1.png", "cam2/1.png"], ["shots\\cam1\\1.png", "shots\\cam2\\1.png"]])
def test_photos_of_one_name_in_two_folders_keep_their_boxes(here, predict: Predict, names: list[str]) -> None:
    write_named_boxes(here / "boxes.json", names)
    for number in (1, 2):
        make_photo(here / "shots" / f"cam{number}" / "1.png")
        assert predict(f"shots/cam{number}", "--boxes", "boxes.json", "--no-draw", "--force")[0] == 0
        assert [(e["image_id"], e["bbox"][0]) for e in results()] == [(number, 5 * number)]


def test_whole_photos_are_one_person_each_and_files_that_are_not_read_are_counted(here, predict: Predict) -> None:
    photo = Image.open(make_photo(here / "x.png"))
    modes = {"alpha.png": "RGBA", "film.webp": "RGB", "grey.png": "L", "grey_alpha.png": "LA", "palette.png": "P"}
    modes |= {"print.jpg": "CMYK", "stereo.mpo": "RGB"}
    make_photo(here / "in" / "point.png", size=(1, 1))
    for name, mode in modes.items():
        more = {"save_all": True, "append_images": [photo]} if mode == "RGB" else {}
        photo.convert(mode).save(here / "in" / name, **more)
    (here / "in" / "deep").mkdir()
    for name in ("a.HEIC", "deep/b.heic", "c.3gp", "notes.txt", "zero.jpg"):
        (here / "in" / name).touch()
    status, said = predict("in", "--whole-photos", "--flip", "--threads", 1)
    assert status == 0
    note, skipped, found = said.splitlines()
    assert "note: left out 3 files that are not read (1 .3gp, 2 .heic)" in note
    assert skipped == "pct: skipped: in/zero.jpg: the photo is empty (0 bytes)"
    assert found.startswith("found 8 poses on 8 photos")
    boxes = {name: [0, 0, 80, 60] for name in modes} | {"point.png": [0, 0, 1, 1]}
    assert {entry["file_name"]: entry["bbox"] for entry in results()} == boxes
    assert [entry["image_id"] for entry in results()] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_videos_give_a_pose_a_frame_and_a_drawn_video(here, predict: Predict) -> None:
    write_video(here / "walk.mp4", count=6, fps=10)
    make_photo(here / "4.png")
    options = ("--whole-photos", "--video-fps", 5, "--progress", "--batch-size", 2)
    status, said = predict("walk.mp4", "4.png", *options)
    assert status == 0
    assert "found 4 poses on 4 photos" in said
    assert [(e["image_id"], e["file_name"]) for e in results()] == [
        (5, "walk.mp4#0"), (6, "walk.mp4#1"), (7, "walk.mp4#2"), (4, "4.png")
    ]  # fmt: skip
    drawn = VideoReader(here / "predictions/drawn/walk.mp4")
    assert (drawn.fps, len(list(drawn.frames()))) == (5, 3)


def test_a_detector_finds_the_persons(here, predict: Predict, monkeypatch) -> None:
    class Fixed(torch.nn.Module):
        def forward(self, photos: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
            boxes, scores = torch.tensor([[1.0, 2, 31, 42], [1, 2, 9, 9]]), torch.tensor([0.5, 0.2])
            return [{"boxes": boxes, "labels": torch.ones(2), "scores": scores}]

    monkeypatch.setattr(
        detector, "_load_torchvision", lambda name, weights: {("some_detector", Path("w.pth")): Fixed()}[name, weights]
    )
    make_photo(here / "1.png")
    options = ("--detector", "some_detector", "--detector-weights", "w.pth", "--min-score", 0.25)
    assert predict("1.png", *options)[0] == 0
    assert [entry["bbox"] for entry in results()] == [[1, 2, 30, 40]]


def test_a_heatmap_model_gives_poses_without_tokens(here, predict: Predict) -> None:
    make_heatmap_model().save_pretrained(here / "heat")
    make_photo(here / "1.png")
    write_boxes(here / "boxes.json", {1: [[5, 5, 20, 40]]})
    assert predict("1.png", "--model", "heat", "--boxes", "boxes.json")[0] == 0
    expected = PoseEstimator.from_pretrained("heat").predict("1.png", [[5, 5, 20, 40]])
    (entry,) = results()
    np.testing.assert_allclose(np.reshape(entry["keypoints"], (17, 3))[:, :2], expected.keypoints[0], atol=0.01)
    assert (entry["tokens"], entry["score"]) == ([], pytest.approx(0.5 * expected.pose_scores[0], abs=1e-3))
    assert sorted(p.name for p in (here / "predictions").iterdir()) == ["drawn", "keypoints.json"]


def test_earlier_results_even_empty_ones_are_replaced_only_when_asked(here, predict: Predict) -> None:
    make_photo(here / "1.png")
    write_boxes(here / "boxes.json", {})
    found = (0, "found 0 poses on 1 photos; results: predictions\n")
    assert predict("1.png", "--boxes", "boxes.json") == found
    assert results() == []
    assert len(read_tokens(here / "predictions")) == 0
    before = (here / "predictions/keypoints.json").stat().st_mtime_ns
    refused = "pct: error: output predictions/keypoints.json exists; give --force (force=True) to replace it\n"
    assert predict("1.png", "--boxes", "boxes.json") == (1, refused)
    assert (here / "predictions/keypoints.json").stat().st_mtime_ns == before
    assert predict("1.png", "--boxes", "boxes.json", "--force") == found


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["none.png"], "none.png: no such file or folder"),
        (["empty"], "empty: no photo or video in this folder"),
        (["bad.png"], "none of 1 photos can be read; the first: bad.png: not a photo"),
        (["1.png", "--detector", "fasterrcnn"], "there is no detector 'fasterrcnn'; the nearest names are"),
        (["1.png", "--detector-weights", "w.pth"], "w.pth are weights of a detector of torchvision; name"),
        (["1.png", "--boxes", "none.json"], "none.json: no such file of boxes"),
        (["1.png", "--boxes", "two.json"], "1.png may be cam1/1.png or cam2/1.png in `images`"),
        (["1.png", "-o", "1.png"], "output 1.png is a file; the results are a folder"),
        (["walk.mp4", "--boxes", "boxes.json"], "walk.mp4 is a video, and boxes of a file are of photos"),
        (["1.png", "--model", "coco17"], "this is not a pose_classifier"),
    ],
)
def test_errors_are_one_sentence_and_leave_nothing_behind(here, predict: Predict, options: list, reason: str) -> None:
    make_photo(here / "1.png")
    (here / "empty").mkdir()
    (here / "bad.png").write_text("no photo")
    (here / "walk.mp4").write_text("no video")
    (here / "boxes.json").write_text("[]")
    write_named_boxes(here / "two.json", ["cam1/1.png", "cam2/1.png"])
    status, said = predict(*options)
    assert status == 1
    assert said.splitlines()[-1].startswith("pct: error: ")
    assert reason in said.splitlines()[-1]
    assert [p for p in here.rglob("predictions/*") if p.is_file() or p.name.startswith(".")] == []


@pytest.mark.parametrize("option", [("--min-score", "2"), ("--video-fps", "0"), ("--batch-size", "0")])
def test_wrong_numbers_are_wrong_usage(option: tuple) -> None:
    with pytest.raises(SystemExit) as error:
        cli.main(["predict", "1.png", "--model", "m", *option])
    assert error.value.code == 2
