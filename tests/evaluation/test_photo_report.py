"""The report on models of photos: numbers, page, pictures, refusals; from COCO and MPII files."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_boxes import write_boxes, write_mpii
from tiny_estimator import make_varied_classifier
from tiny_photo_models import make_heatmap_model
from tiny_photos import write_people

from pct.evaluation.photos.evaluate import PhotoEvaluation, evaluate_photos
from pct.evaluation.photos.files import run_photo_evaluation
from pct.evaluation.photos.pictures import choose_rows, person_panels
from pct.evaluation.photos.predictions import PredictionOptions
from pct.photos.heatmap import HeatmapModel
from pct.photos.persons import CocoPersons
from pct.skeleton import MPII16

OPTIONS = PredictionOptions(num_samples=4)
MODELS = {"PCT": make_varied_classifier(), "<heat> & maps": make_heatmap_model()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[PhotoEvaluation, Path]:
    """An evaluation with detected boxes, and the folder of its report."""
    folder = tmp_path_factory.mktemp("report")
    path = write_people(folder, num_photos=8)
    boxes = write_boxes(folder / "boxes.json", [(i, [12.0, 9.6, 24.0, 28.8], 0.9) for i in range(1, 9)])
    evaluation, page = run_photo_evaluation(
        MODELS, path, folder, folder / "out", boxes_path=boxes, options=OPTIONS, limit=12
    )
    return evaluation, page.parent


def test_results_hold_the_numbers(written: tuple[PhotoEvaluation, Path]) -> None:
    evaluation, folder = written
    results = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert results == json.loads(json.dumps(evaluation.numbers))
    assert set(results["models"]) == set(MODELS)
    pct = results["models"]["PCT"]
    assert pct["detected"]["ap"] is not None
    # The photos of the first 12 persons are 6, each with one of the boxes.
    assert (results["num_persons"], results["num_images"], results["num_detections"]) == (12, 6, 6)
    assert pct["ms_per_photo"] == pytest.approx(1000 * pct["seconds"] / 6, abs=5 / 6 + 0.01)  # both rounded


def test_page_shows_everything_that_was_asked_for(written: tuple[PhotoEvaluation, Path]) -> None:
    evaluation, folder = written
    page = (folder / "index.html").read_text(encoding="utf-8")
    words = (
        "&lt;heat&gt; &amp; maps",
        "Only the first 12 persons",
        "Hidden joints only",
        "most likely tokens",
        "among the five likeliest in",
        "PCK@0.2",
        "Detected boxes",
        "expected calibration error",
        "time a photo",
        "factor 1",
        evaluation.numbers["models"]["PCT"]["fingerprint"],
    )
    for word in words:
        assert word in page
    names = {path.stem for path in (folder / "pictures").iterdir()}
    assert names == {"typical", "hidden", "worst", "best", "calibration"}
    assert page.count("<figure>") == len(names)


def test_pictures_show_photos_and_poses(written: tuple[PhotoEvaluation, Path]) -> None:
    for path in (written[1] / "pictures").iterdir():
        picture = cv2.imread(str(path)).astype(int)
        assert ((picture.max(axis=-1) - picture.min(axis=-1)) > 60).sum() > 200, path.name


def test_examples_are_what_their_names_say(written: tuple[PhotoEvaluation, Path], tmp_path: Path) -> None:
    path = write_people(tmp_path, num_photos=8)
    source = CocoPersons(path, tmp_path)
    found = evaluate_photos(MODELS, source, OPTIONS)
    rows = choose_rows(found)
    first = found.quality("PCT")
    assert first[rows["best"]].min() >= first[rows["worst"]].max()
    assert first[rows["best"][0]] == first.max()
    assert set(rows) == {"typical", "hidden", "worst", "best"}
    labels, tokens, heatmaps = person_panels(found, source, rows["best"][0])
    person = source[int(found.table.rows[rows["best"][0]])]
    assert labels.background is not None
    assert labels.background.shape == (256, 256, 3)
    assert labels.caption == f"photo {person.image_id}\n5 seen, 6 hidden"
    # A seen joint of the crop has the colour that it has on the photo.
    joint = int(np.flatnonzero(person.visibility == 2)[0])
    pixel = np.rint(person.keypoints[joint]).astype(int)
    bbox = torch.from_numpy(person.bbox)[None]
    place = found.space.report_space.normalise(torch.tensor(pixel)[None, None].float(), bbox)[0, 0] - 0.5
    column, row = np.rint(place.numpy()).astype(int)
    np.testing.assert_allclose(labels.background[row, column], person.image[pixel[1], pixel[0]], atol=25)
    assert [len(panel.layers) for panel in (labels, tokens, heatmaps)] == [1, 1, 1]


def test_a_report_is_not_overwritten_and_bad_files_are_refused_first(
    written: tuple[PhotoEvaluation, Path], tmp_path: Path
) -> None:
    folder = written[1]
    path = folder.parent / "people.json"
    before = (folder / "index.html").read_bytes()
    with pytest.raises(FileExistsError, match="force"):
        run_photo_evaluation(MODELS, path, path.parent, folder, options=OPTIONS)
    assert (folder / "index.html").read_bytes() == before
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match="is a file"):
        run_photo_evaluation(MODELS, path, path.parent, tmp_path / "file", options=OPTIONS, force=True)
    boxes = write_boxes(tmp_path / "boxes.json", [(99, [1.0, 2.0, 3.0, 4.0], 1.0)])
    with pytest.raises(ValueError, match="no box on the 8 photos"):
        run_photo_evaluation(MODELS, path, path.parent, tmp_path / "out", boxes_path=boxes, options=OPTIONS)
    assert not (tmp_path / "out").exists()


def test_what_was_skipped_is_in_the_report(tmp_path: Path) -> None:
    path = write_people(tmp_path, num_photos=3)
    (tmp_path / "3.png").unlink()
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:-400])
    said: list[str] = []
    model = {"heatmaps": make_heatmap_model()}
    evaluation, page = run_photo_evaluation(
        model, path, tmp_path, tmp_path / "out", options=OPTIONS, report=said.append
    )
    assert evaluation.numbers["num_persons"] == 2
    assert len(said) == 2
    assert evaluation.numbers["provenance"]["notes"] == [
        f"2 persons, photos or boxes were skipped; the first: {said[0]}"
    ]
    assert "Forms of the pose" not in page.read_text(encoding="utf-8")


def test_mpii_files_get_pckh(tmp_path: Path) -> None:
    model = make_heatmap_model()
    config = type(model.config)(model.config.backbone, model.config.heatmap, MPII16, model.config.space)
    path = write_mpii(tmp_path)
    said: list[str] = []
    evaluation, page = run_photo_evaluation(
        {"heatmaps": HeatmapModel(config).eval()}, path, tmp_path, tmp_path / "out", report=said.append
    )
    found = evaluation.numbers["models"]["heatmaps"]
    assert found["pckh"]["mean"] is not None
    assert "PCKh@0.5" in page.read_text(encoding="utf-8")
    assert found["poses"]["top of the heatmap"]["occluded"]["ap"] is None  # MPII does not say what is hidden
    with pytest.raises(ValueError, match="boxes are for 2D poses in COCO-format files only"):
        run_photo_evaluation({"heatmaps": model}, path, tmp_path, tmp_path / "new", boxes_path=path, report=said.append)
