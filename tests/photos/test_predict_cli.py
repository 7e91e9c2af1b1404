"""`pct predict` as people call it: what it writes, what it says, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_estimator import make_varied_classifier
from tiny_photo_models import make_heatmap_model
from tiny_videos import write_video

from pct.cli import main as cli
from pct.files.photo_inputs import PhotoInput
from pct.files.video import VideoReader
from pct.photos.detection import detector
from pct.photos.estimator import PoseEstimator
from pct.photos.results.predict_files import predict_files
from pct.tokenizer import PoseTokenizer
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


def write_boxes(path: Path, boxes: dict[int, list]) -> Path:
    entries = [
        {"image_id": image_id, "category_id": 1, "bbox": bbox, "score": 0.5}
        for image_id, all_of_it in boxes.items()
        for bbox in all_of_it
    ]
    path.write_text(json.dumps(entries))
    return path


def run(capsys, *argv: object) -> tuple[int, str]:
    status = cli.main(["predict", *(str(a) for a in argv)])
    return status, capsys.readouterr().err


def results(folder: str = "predictions") -> list[dict]:
    return json.loads(Path(folder, "keypoints.json").read_text())


def test_photos_with_boxes_give_results_tokens_and_pictures(here, model, capsys) -> None:
    for number in (3, 4, 5):
        make_photo(here / f"in/00{number}.png", number)
    write_boxes(here / "boxes.json", {3: [[5, 5, 20, 40], [30, 10, 40, 30]], 5: [[10, 10, 30, 30]], 4: []})
    status, said = run(capsys, "in", "--model", model, "--boxes", "boxes.json", "-o", "out", "--batch-size", 2)
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


def test_the_token_table_decodes_to_the_most_likely_poses(here, model, capsys) -> None:
    make_photo(here / "7.png")
    write_boxes(here / "boxes.json", {7: [[5, 5, 20, 40], [30, 10, 40, 30]]})
    assert run(capsys, "7.png", "--model", model, "--boxes", "boxes.json", "--no-draw")[0] == 0
    with TokenReader(here / "predictions/tokens.parquet") as reader:
        tokens = reader.read()
    assert (tokens.image_ids.tolist(), tokens.annotation_ids.tolist()) == ([7, 7], [1, 2])
    status = cli.main(
        ["decode", "predictions/tokens.parquet", "-o", "poses.json", "--model", str(Path(model, "tokenizer"))]
    )
    assert status == 0
    expected = PoseEstimator.from_pretrained(model).predict("7.png", [[5, 5, 20, 40], [30, 10, 40, 30]])
    decoded = [a["keypoints"] for a in json.loads(Path("poses.json").read_text())["annotations"]]
    np.testing.assert_allclose(np.reshape(decoded, (2, 17, 3))[..., :2], expected.likely_keypoints, atol=0.02)
    assert not (here / "predictions/drawn").exists()


def test_tokens_of_inputs_that_are_not_square_decode_to_their_poses(tmp_path) -> None:
    estimator = PoseEstimator(make_varied_classifier(image_size=(64, 32)))
    photo = PhotoInput(make_photo(tmp_path / "1.png"), "1.png", False)
    box = np.array([[20.0, 10, 40, 30]])
    predict_files(estimator, [photo], tmp_path / "out", image_ids={}, find_boxes=lambda _: (box, np.ones(1)))
    with TokenReader(tmp_path / "out/tokens.parquet") as reader:
        tokens = reader.read()
    tokenizer: PoseTokenizer = estimator.model.tokenizer
    decoded = tokenizer.decode(torch.from_numpy(tokens.indices), torch.from_numpy(tokens.bbox))
    np.testing.assert_allclose(decoded, estimator.predict(photo.path, box).likely_keypoints, atol=1e-3)


def test_bad_photos_and_boxes_are_reported_and_skipped(here, model, capsys) -> None:
    make_photo(here / "in/1.png")
    cut = make_photo(here / "in/2.png")
    cut.write_bytes(cut.read_bytes()[:500])
    (here / "in/3.jpg").write_text("no photo")
    make_photo(here / "in/4.png")
    write_boxes(here / "boxes.json", {1: [[500, 5, 20, 40], [5, 5, 20, 40]], 2: [[5, 5, 20, 40]]})
    status, said = run(capsys, "in", "--model", model, "--boxes", "boxes.json")
    assert status == 0
    lines = said.splitlines()
    assert lines[0].startswith(
        "pct: skipped: 1.png: bbox of row 0 is [500.0, 5.0, 20.0, 40.0]; it lies outside the photo of 80x60"
    )
    assert "2.png: the photo is damaged or truncated" in lines[1]
    assert "3.jpg: not a photo" in lines[2]
    assert (
        lines[3] == "found 1 poses on 2 photos; results: predictions; skipped 2 unreadable files; skipped 1 bad boxes"
    )
    assert len(results()) == 1


def test_every_photo_is_drawn_whatever_it_is_called_and_drawn_ones_are_no_photos(here, model, capsys) -> None:
    for name in ("a.png", "a.png.jpg/c.png", "b.png", "b.png.jpg", "x" * 250 + ".png"):
        make_photo(here / "in" / name)
    for force in ([], ["--force"]):
        status, said = run(capsys, "in", "--model", model, "--whole-photos", "-o", "in", *force)
        assert (status, said) == (0, "found 5 poses on 5 photos; results: in\n")
        assert sum(path.is_file() for path in (here / "in/drawn").rglob("*")) == 5


def test_photos_that_the_boxes_do_not_know_have_nobody_on_them(here, model, capsys) -> None:
    make_photo(here / "1.png")
    make_photo(here / "beach.png")
    write_boxes(here / "boxes.json", {1: [[5, 5, 20, 40]]})
    status, said = run(capsys, "1.png", "beach.png", "--model", model, "--boxes", "boxes.json")
    assert status == 0
    assert "beach.png: boxes.json does not know this photo" in said
    assert [entry["file_name"] for entry in results()] == ["1.png"]


def write_named_boxes(path: Path, names: list[str]) -> None:
    images = [{"id": number, "file_name": name, "width": 80, "height": 60} for number, name in enumerate(names, 1)]
    boxes = [{"id": i["id"], "image_id": i["id"], "category_id": 1, "bbox": [5 * i["id"], 5, 20, 40]} for i in images]
    categories = [{"id": 1, "name": "person"}]
    path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))


@pytest.mark.parametrize("names", [["cam1/1.png", "cam2/1.png"], ["shots\\cam1\\1.png", "shots\\cam2\\1.png"]])
def test_photos_of_one_name_in_two_folders_keep_their_boxes(here, model, capsys, names) -> None:
    make_photo(here / "shots" / "cam1" / "1.png")
    make_photo(here / "shots" / "cam2" / "1.png")
    write_named_boxes(here / "boxes.json", names)
    for number in (1, 2):
        options = ("--boxes", "boxes.json", "--model", model, "--no-draw", "--force")
        assert run(capsys, f"shots/cam{number}", *options)[0] == 0
        assert [(e["image_id"], e["bbox"][0]) for e in results()] == [(number, 5 * number)]


def test_a_photo_that_may_be_either_of_two_entries_is_no_guess(here, model, capsys) -> None:
    make_photo(here / "1.png")
    write_named_boxes(here / "boxes.json", ["cam1/1.png", "cam2/1.png"])
    status, said = run(capsys, "1.png", "--boxes", "boxes.json", "--model", model)
    assert status == 1
    assert "1.png may be cam1/1.png or cam2/1.png in `images`" in said


def test_whole_photos_are_one_person_each(here, model, capsys) -> None:
    photo = Image.open(make_photo(here / "x.png"))
    modes = {"alpha.png": "RGBA", "film.webp": "RGB", "grey.png": "L", "grey_alpha.png": "LA", "palette.png": "P"}
    modes |= {"print.jpg": "CMYK", "stereo.mpo": "RGB"}
    (here / "in").mkdir()
    for name, mode in modes.items():
        more = {"save_all": True, "append_images": [photo]} if mode == "RGB" else {}
        photo.convert(mode).save(here / "in" / name, **more)
    make_photo(here / "in" / "point.png", size=(1, 1))
    (here / "in" / "zero.jpg").touch()
    status, said = run(capsys, "in", "--model", model, "--whole-photos", "--flip", "--threads", 1)
    assert status == 0
    assert said.startswith("pct: skipped: in/zero.jpg: the photo is empty (0 bytes)\nfound 8 poses on 8 photos")
    boxes = {name: [0, 0, 80, 60] for name in modes} | {"point.png": [0, 0, 1, 1]}
    assert {entry["file_name"]: entry["bbox"] for entry in results()} == boxes
    assert [entry["image_id"] for entry in results()] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_videos_give_a_pose_a_frame_and_a_drawn_video(here, model, capsys) -> None:
    write_video(here / "walk.mp4", count=6, fps=10)
    make_photo(here / "4.png")
    status, said = run(
        capsys,
        "walk.mp4",
        "4.png",
        "--whole-photos",
        "--model",
        model,
        "--video-fps",
        5,
        "--progress",
        "--batch-size",
        2,
    )
    assert status == 0
    assert "found 4 poses on 4 photos" in said
    assert [(e["image_id"], e["file_name"]) for e in results()] == [
        (5, "walk.mp4#0"), (6, "walk.mp4#1"), (7, "walk.mp4#2"), (4, "4.png")
    ]  # fmt: skip
    drawn = VideoReader(here / "predictions/drawn/walk.mp4")
    assert (drawn.fps, len(list(drawn.frames()))) == (5, 3)


def test_a_detector_finds_the_persons(here, model, capsys, monkeypatch) -> None:
    class Fixed(torch.nn.Module):
        def forward(self, photos: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
            boxes, scores = torch.tensor([[1.0, 2, 31, 42], [1, 2, 9, 9]]), torch.tensor([0.5, 0.2])
            return [{"boxes": boxes, "labels": torch.ones(2), "scores": scores}]

    monkeypatch.setattr(
        detector, "_load_torchvision", lambda name, weights: {("some_detector", Path("w.pth")): Fixed()}[name, weights]
    )
    make_photo(here / "1.png")
    options = ("--detector", "some_detector", "--detector-weights", "w.pth", "--min-score", 0.25)
    assert run(capsys, "1.png", "--model", model, *options)[0] == 0
    assert [entry["bbox"] for entry in results()] == [[1, 2, 30, 40]]


def test_files_of_a_folder_that_are_not_read_are_counted(here, model, capsys) -> None:
    make_photo(here / "in" / "1.png")
    for name in ("a.HEIC", "deep/b.heic", "c.3gp", "notes.txt"):
        (here / "in" / name).parent.mkdir(exist_ok=True)
        (here / "in" / name).write_bytes(b"x")
    status, said = run(capsys, "in", "--model", model, "--whole-photos")
    assert status == 0
    assert "note: left out 3 files that are not read (1 .3gp, 2 .heic)" in said


def test_a_heatmap_model_gives_poses_without_tokens(here, capsys) -> None:
    make_heatmap_model().save_pretrained(here / "heat")
    make_photo(here / "1.png")
    write_boxes(here / "boxes.json", {1: [[5, 5, 20, 40]]})
    assert run(capsys, "1.png", "--model", "heat", "--boxes", "boxes.json")[0] == 0
    expected = PoseEstimator.from_pretrained("heat").predict("1.png", [[5, 5, 20, 40]])
    (entry,) = results()
    np.testing.assert_allclose(np.reshape(entry["keypoints"], (17, 3))[:, :2], expected.keypoints[0], atol=0.01)
    assert (entry["tokens"], entry["score"]) == ([], pytest.approx(0.5 * expected.pose_scores[0], abs=1e-3))
    assert sorted(p.name for p in (here / "predictions").iterdir()) == ["drawn", "keypoints.json"]


def test_a_photo_without_persons_gives_empty_results(here, model, capsys) -> None:
    make_photo(here / "1.png")
    write_boxes(here / "boxes.json", {})
    assert run(capsys, "1.png", "--model", model, "--boxes", "boxes.json") == (
        0,
        "found 0 poses on 1 photos; results: predictions\n",
    )
    assert results() == []
    with TokenReader(here / "predictions/tokens.parquet") as reader:
        assert len(reader) == 0


def test_earlier_results_are_replaced_only_when_asked(here, model, capsys) -> None:
    make_photo(here / "1.png")
    assert run(capsys, "1.png", "--model", model)[0] == 0
    before = (here / "predictions/keypoints.json").stat().st_mtime_ns
    status, said = run(capsys, "1.png", "--model", model)
    assert (status, said) == (
        1,
        "pct: error: predictions already holds keypoints.json; give --force (force=True) to replace the results\n",
    )
    assert (here / "predictions/keypoints.json").stat().st_mtime_ns == before
    assert run(capsys, "1.png", "--model", model, "--force")[0] == 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["none.png"], "none.png: no such file or folder"),
        (["empty"], "empty: no photo or video in this folder"),
        (["bad.png"], "none of 1 photos can be read; the first: bad.png: not a photo"),
        (["1.png", "--detector", "fasterrcnn"], "there is no detector 'fasterrcnn'; the nearest names are"),
        (
            ["1.png", "--detector-weights", "w.pth"],
            "w.pth are weights of a detector of torchvision; name",
        ),
        (["1.png", "--boxes", "none.json"], "none.json: no such file of boxes"),
        (["1.png", "-o", "1.png"], "output 1.png is a file; the results are a folder"),
        (["walk.mp4", "--boxes", "boxes.json"], "walk.mp4 is a video, and boxes of a file are of photos"),
    ],
)
def test_errors_are_one_sentence_and_leave_nothing_behind(here, model, capsys, options: list, reason: str) -> None:
    make_photo(here / "1.png")
    (here / "empty").mkdir()
    (here / "bad.png").write_text("no photo")
    (here / "walk.mp4").write_text("no video")
    (here / "boxes.json").write_text("[]")
    status, said = run(capsys, *options, "--model", model)
    assert status == 1
    assert f"pct: error: {reason}" in said.splitlines()[-1]
    assert [p for p in here.rglob("predictions/*") if p.is_file() or p.name.startswith(".")] == []


def test_a_tokenizer_is_no_model_of_photos(here, model, capsys) -> None:
    make_photo(here / "1.png")
    status, said = run(capsys, "1.png", "--model", Path(model, "tokenizer"))
    assert status == 1
    assert "this is not a pose_classifier" in said


@pytest.mark.parametrize("option", [("--min-score", "2"), ("--video-fps", "0"), ("--batch-size", "0")])
def test_wrong_numbers_are_wrong_usage(option: tuple) -> None:
    with pytest.raises(SystemExit) as error:
        cli.main(["predict", "1.png", "--model", "m", *option])
    assert error.value.code == 2
