"""The report on models of photos: numbers, page, pictures, refusals; from COCO and MPII files."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_boxes import write_boxes, write_mpii
from tiny_estimator import make_varied_classifier
from tiny_photo_models import make_heatmap_model
from tiny_photos import write_people

from pct.data.photos import CocoPersons
from pct.evaluation.photo_evaluate import EvaluatedPoses, evaluate_photos
from pct.evaluation.photo_examples import choose_rows, make_examples, report_space, similarities
from pct.evaluation.photo_predictions import PredictionOptions
from pct.evaluation.photo_report import run_photo_evaluation
from pct.evaluation.photo_results import PhotoEvaluation
from pct.models.heatmap import HeatmapModel
from pct.pose_space import PoseSpace
from pct.skeleton import COCO17, MPII16

OPTIONS = PredictionOptions(num_samples=4)
SIGMAS = torch.from_numpy(COCO17.oks_sigmas)
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


class _Balance(HTMLParser):
    """Checks that every element that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_results_hold_the_numbers(written: tuple[PhotoEvaluation, Path]) -> None:
    evaluation, folder = written
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert results == json.loads(json.dumps(evaluation.to_dict()))
    assert set(results["models"]) == set(MODELS)
    pct = results["models"]["PCT"]
    assert pct["poses"]["expected pose"]["coco"]["ap"] == evaluation.models["PCT"].main.coco.ap
    assert list(pct["parts"]) == ["head", "torso", "arms", "legs"]
    assert pct["detected"]["ap"] is not None
    # The photos of the first 12 persons are 6, each with one of the boxes.
    assert (results["num_persons"], results["num_images"], results["num_detections"]) == (12, 6, 6)


def test_page_stands_alone_and_escapes_names(written: tuple[PhotoEvaluation, Path]) -> None:
    evaluation, folder = written
    html = (folder / "index.html").read_text(encoding="utf-8")
    parser = _Balance()
    parser.feed(html)
    assert parser.open == []
    assert "<script" not in html
    assert not re.search(r'(src|href)="(?!data:)', html)
    assert "Only the first 12 persons" in parser.text
    words = (
        "<heat> & maps",
        "most likely tokens",
        "Detected boxes",
        "expected calibration error",
        "nothing was fitted",
    )
    for word in (*words, evaluation.models["PCT"].fingerprint):
        assert word in parser.text
    names = {path.stem for path in (folder / "pictures").iterdir()}
    kinds = {"typical", "occluded", "worst", "best", "better", "worse"}
    assert names == kinds | {"thresholds", "parts", "calibration"}
    assert html.count("<figure>") == len(names)


def test_pictures_show_photos_and_poses(written: tuple[PhotoEvaluation, Path]) -> None:
    for path in (written[1] / "pictures").iterdir():
        picture = cv2.imread(str(path)).astype(int)
        assert ((picture.max(axis=-1) - picture.min(axis=-1)) > 60).sum() > 200, path.name


def test_examples_are_what_their_names_say(written: tuple[PhotoEvaluation, Path], tmp_path: Path) -> None:
    path = write_people(tmp_path, num_photos=8)
    source = CocoPersons(path, tmp_path)
    poses = evaluate_photos(MODELS, source, OPTIONS)[1]
    rows = choose_rows(poses, SIGMAS)
    first, second = similarities(poses, SIGMAS).values()
    assert first[rows["best"]].min() >= first[rows["worst"]].max()
    assert first[rows["best"][0]] == first.max()
    lead = first - second
    assert (lead[rows["better"][0]], lead[rows["worse"][0]]) == (lead.max(), lead.min())
    assert set(choose_rows(EvaluatedPoses(poses.table, {"PCT": poses.models["PCT"]}), SIGMAS)) == {
        "typical",
        "occluded",
        "worst",
        "best",
    }
    space = report_space(PoseSpace())
    example = make_examples(poses, source, space, SIGMAS)["best"][0]
    person = source[int(poses.table.rows[rows["best"][0]])]
    assert example.image.shape == (256, 256, 3)
    assert (example.image_id, example.annotation_id) == (person.image_id, person.annotation_id)
    # A seen joint of the crop has the colour that it has on the photo.
    joint = int(np.flatnonzero(person.visibility == 2)[0])
    pixel = np.rint(person.keypoints[joint]).astype(int)
    place = space.normalise(torch.tensor(pixel)[None, None].float(), torch.from_numpy(person.bbox)[None])[0, 0] - 0.5
    column, row = np.rint(place.numpy()).astype(int)
    np.testing.assert_allclose(example.image[row, column], person.image[pixel[1], pixel[0]], atol=25)
    assert set(example.samples) == {"PCT"}
    assert example.samples["PCT"].shape == (4, 17, 2)


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
    assert evaluation.num_persons == 2
    assert len(said) == 2
    assert evaluation.provenance.notes == [f"2 persons, photos or boxes were skipped; the first: {said[0]}"]
    assert "Forms of the pose" not in page.read_text(encoding="utf-8")


def test_mpii_files_get_pckh(tmp_path: Path) -> None:
    model = make_heatmap_model()
    config = type(model.config)(model.config.backbone, model.config.heatmap, MPII16, model.config.space)
    path = write_mpii(tmp_path)
    said: list[str] = []
    evaluation, page = run_photo_evaluation(
        {"heatmaps": HeatmapModel(config).eval()}, path, tmp_path, tmp_path / "out", report=said.append
    )
    pckh = evaluation.models["heatmaps"].pckh
    assert pckh is not None
    assert pckh["mean"] is not None
    assert "PCKh@0.5" in page.read_text(encoding="utf-8")
    assert evaluation.models["heatmaps"].main.occluded.ap is None  # MPII does not say what is hidden
    with pytest.raises(ValueError, match="come with their boxes"):
        run_photo_evaluation({"heatmaps": model}, path, tmp_path, tmp_path / "new", boxes_path=path, report=said.append)
