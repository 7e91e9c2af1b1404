"""tools/evaluate_photos.py and its report as users meet them: numbers, page, pictures, refusals; COCO and MPII."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_evaluation import check_report
from tiny_photo_models import make_heatmap_model, make_varied_classifier
from tiny_photos import BOX, write_boxes, write_mpii, write_people
from tool_loader import load_tool

from pct.evaluation.photos.evaluate import evaluate_photos
from pct.evaluation.photos.files import run_photo_evaluation
from pct.evaluation.photos.predictions import PredictionOptions
from pct.evaluation.photos.report import choose_rows, person_panels
from pct.photos.heatmap import HeatmapModel
from pct.photos.persons import CocoPersons
from pct.skeleton import MPII16

OPTIONS = PredictionOptions(num_samples=4)
MODEL, HEATMAPS = make_varied_classifier(), make_heatmap_model()
TOOL = load_tool("evaluate_photos")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos with ``people.json``, two persons each, a box on each, and the models ``pct`` and ``heat``."""
    path = tmp_path_factory.mktemp("photos")
    write_people(path, num_photos=8)
    write_boxes(path / "boxes.json", [(i, BOX, 0.9) for i in range(1, 9)])
    MODEL.save_pretrained(path / "pct")
    HEATMAPS.save_pretrained(path / "heat")
    return path


def run(folder: Path, out: Path, *more: object, model: str = "pct") -> int:
    models = ["--model", folder / model] if model else []
    command = [folder / "people.json", "--images", folder, "--samples", 2, "--out", out, *models, *more]
    return TOOL.main([str(part) for part in command])


@pytest.fixture(scope="module")
def written(folder: Path) -> Path:
    """A report on two classifiers and a heatmap model, with detected boxes."""
    models = ["--model", f"<again> & more={folder / 'pct'}", "--heatmap", folder / "heat"]
    assert run(folder, folder / "out", *models, "--boxes", folder / "boxes.json", "--limit", 12, "--quiet") == 0
    return folder / "out"


def test_a_report_has_everything_that_was_asked_for(written: Path) -> None:
    words = (
        *("&lt;again&gt; &amp; more", "Only the first 12 persons", "Hidden joints only", "most likely tokens"),
        *("among the five likeliest in", "PCK@0.2", "Detected boxes", "expected calibration error", "ms a photo"),
        "factor 1",
    )
    results = check_report(written, {"typical", "hidden", "worst", "best", "calibration"}, words)
    assert list(results["models"]) == ["PCT", "<again> & more", "heatmaps"]
    pct, again, _ = results["models"].values()
    assert again["poses"] == pct["poses"]
    assert pct["detected"]["ap"] is not None
    assert pct["fingerprint"] in (written / "index.html").read_text(encoding="utf-8")
    # The photos of the first 12 persons are 6, each with one of the boxes.
    assert (results["num_persons"], results["num_images"], results["num_detections"]) == (12, 6, 6)
    assert results["flip"]
    assert pct["ms_per_photo"] == pytest.approx(1000 * pct["seconds"] / 6, abs=5 / 6 + 0.01)  # both rounded


def test_examples_are_what_their_names_say(folder: Path) -> None:
    source = CocoPersons(folder / "people.json", folder)
    found = evaluate_photos({"PCT": MODEL, "heatmaps": HEATMAPS}, source, OPTIONS)
    rows, first = choose_rows(found), found.quality("PCT")
    assert set(rows) == {"typical", "hidden", "worst", "best"}
    assert first[rows["best"]].min() >= first[rows["worst"]].max()
    assert first[rows["best"][0]] == first.max()
    panels = person_panels(found, source, rows["best"][0])
    assert [len(panel.layers) for panel in panels] == [1, 1, 1]  # labels, tokens, heatmaps
    person, background = source[int(found.table.rows[rows["best"][0]])], panels[0].background
    assert background is not None
    assert background.shape == (256, 256, 3)
    assert panels[0].caption == f"photo {person.image_id}\n5 seen, 6 hidden"
    # A seen joint of the crop has the colour that it has on the photo.
    pixel = np.rint(person.keypoints[int(np.flatnonzero(person.visibility == 2)[0])]).astype(int)
    place = torch.from_numpy(pixel)[None, None].float()
    place = found.space.report_space.normalise(place, torch.from_numpy(person.bbox)[None])[0, 0] - 0.5
    column, row = np.rint(place.numpy()).astype(int)
    np.testing.assert_allclose(background[row, column], person.image[pixel[1], pixel[0]], atol=25)


def test_a_report_is_replaced_when_asked_for_only(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "metrics.json").write_text("mine")
    heatmaps = ["--heatmap", folder / "heat", "--no-flip", "--limit", 3]
    assert run(folder, out, *heatmaps, model="") == 1
    assert "--force" in capsys.readouterr().err
    assert (out / "metrics.json").read_text() == "mine"
    assert run(folder, out, *heatmaps, "--force", model="") == 0
    printed = capsys.readouterr()
    assert "3/3" in printed.err  # the bar
    assert printed.out.startswith("heatmaps  AP ")
    results = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert (list(results["models"]), results["flip"], results["num_persons"]) == (["heatmaps"], False, 3)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--model", "other=nowhere"], "nowhere"),
        (["--model", "pct"], "two models are called PCT"),
        (["--model", "heatmaps=pct", "--heatmap", "heat"], "give the one of --model another"),
        (["--heatmap", "pct"], "heatmap_model"),
        (["--images", "nowhere"], "no person with a photo"),
        (["--boxes", "nowhere.json"], "nowhere.json"),
        (["--boxes", "people.json"], "list"),
        (["--boxes", "far.json"], "no box on the 8 photos"),
        (["--out", "people.json"], "is a file"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_status_1(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch, more: list[str], words: str
) -> None:
    monkeypatch.chdir(folder)
    write_boxes(folder / "far.json", [(99, BOX, 1.0)])
    assert run(folder, tmp_path / "out", *more, "--quiet") == 1
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("evaluate_photos: error: ")
    assert words in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("more", [["--limit", "0"], ["--samples", "0"], ["--batch-size", "-1"], []])
def test_senseless_numbers_and_no_model_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run(folder, tmp_path / "out", *more, model="pct" if more else "")
    assert stop.value.code == 2
    words = f"{more[0]} must be at least 1" if more else "give --model, --heatmap or both"
    assert words in capsys.readouterr().err


def test_what_was_skipped_is_in_the_report(tmp_path: Path) -> None:
    path = write_people(tmp_path, num_photos=3)
    (tmp_path / "3.png").unlink()
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:-400])
    said: list[str] = []
    models = {"heatmaps": HEATMAPS}
    found, page = run_photo_evaluation(models, path, tmp_path, tmp_path / "out", options=OPTIONS, report=said.append)
    assert found.numbers["num_persons"] == len(said) == 2
    notes = [f"2 persons, photos or boxes were skipped; the first: {said[0]}"]
    assert found.numbers["provenance"]["notes"] == notes
    assert "Forms of the pose" not in page.read_text(encoding="utf-8")
    boxes = write_boxes(tmp_path / "boxes.json", [(1, BOX, 0.9)])
    run_photo_evaluation(models, path, tmp_path, tmp_path / "boxed", boxes_path=boxes, report=said.append)
    assert any("1 of 3 images have no photo in" in s and "not counted for detected boxes" in s for s in said)


def test_mpii_files_get_pckh(tmp_path: Path) -> None:
    config = type(HEATMAPS.config)(HEATMAPS.config.backbone, HEATMAPS.config.heatmap, MPII16, HEATMAPS.config.space)
    models, path, said = {"heatmaps": HeatmapModel(config).eval()}, write_mpii(tmp_path), list[str]()
    evaluation, page = run_photo_evaluation(models, path, tmp_path, tmp_path / "out", report=said.append)
    found = evaluation.numbers["models"]["heatmaps"]
    assert found["pckh"]["mean"] is not None
    assert "PCKh@0.5" in page.read_text(encoding="utf-8")
    assert found["poses"]["top of the heatmap"]["occluded"]["ap"] is None  # MPII does not say what is hidden
    with pytest.raises(ValueError, match="boxes are for 2D poses in COCO-format files only"):
        run_photo_evaluation(models, path, tmp_path, tmp_path / "new", boxes_path=path, report=said.append)
