"""From photos to poses in space as a user goes: training, evaluation and prediction with a tiny model."""

from __future__ import annotations

import copy
import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_evaluation import check_report
from tiny_photo_models import SWIN, make_body_tokenizer
from tool_loader import load_tool

from pct.cli import main as cli
from pct.evaluation.photos.evaluate import evaluate_photos
from pct.evaluation.photos.predictions import PredictionOptions
from pct.files.photo_inputs import find_photos
from pct.people.scene import GeneratedPersons
from pct.people.write import write_people
from pct.photos.classifier import PoseClassifier
from pct.photos.detection.detector import WholePhoto
from pct.photos.estimator import PoseEstimator
from pct.photos.person_views import Persons3D
from pct.photos.persons import CocoPersons
from pct.photos.results.predict_files import predict_files
from pct.tokens.codec import decode_file
from pct.training.kinds import load_run
from pct.training.run_files import read_metrics

ROOT = Path(__file__).parents[2]
CONFIG = """\
out: {folder}/run
tokenizer: {folder}/tokenizer
steps: 20
batch_size: 4
log_every: 20
val_every: 0
val_persons: 8
device: cpu
threads: 1
workers: 0
data:
  train: {folder}/people/annotations.json
  train_images: {folder}/people/images
  val: {folder}/people/annotations.json
  val_images: {folder}/people/images
backbone: {{name: swin_pico, image_size: [32, 32], options: {swin}}}
head: {{width: 16, num_heads: 2, num_blocks: 1}}
augment: {{rotation: 10, scale: 0.1, half_body_prob: 0, colour_prob: 0, grid_prob: 0}}
loss: {{keypoint_weight: 20, beta: 0.05}}
pretrain: {{steps: 2}}
optim: {{lr: 0.005, warmup_steps: 5}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """People, a tokenizer that nobody trained, and a run with it that the tool made."""
    folder = tmp_path_factory.mktemp("photo3d")
    write_people(folder / "people", GeneratedPersons(10, 1, image_size=64))
    make_body_tokenizer().save_pretrained(folder / "tokenizer")
    (folder / "config.yaml").write_text(CONFIG.format(folder=folder, swin=json.dumps(SWIN)))
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr("pct.drawing.plots.plot_training_curves", lambda *_: None)
        threads = torch.get_num_threads()
        assert cli.main(["train", "classifier", str(folder / "config.yaml"), "--quiet"]) == 0
        torch.set_num_threads(threads)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> PoseClassifier:
    return PoseClassifier.from_pretrained(folder / "run" / "model")


def persons(folder: Path) -> Persons3D:
    return Persons3D(CocoPersons(folder / "people" / "annotations.json", folder / "people" / "images", need_3d=True))


def test_a_run_logs_millimetres_and_saves_a_calibrated_model(folder: Path, model: PoseClassifier) -> None:
    last = read_metrics(folder / "run" / "metrics.jsonl")[-1]
    for name in ("val_mpjpe_mm", "val_p_mpjpe_mm", "val_oracle_mpjpe_mm", "val_argmax_mpjpe_mm", "val_top1"):
        assert np.isfinite(last[name]), name
    assert "val_oks" not in last
    assert last["val_p_mpjpe_mm"] < last["val_mpjpe_mm"]
    assert model.config.calibration.floor > 0
    first = read_metrics(folder / "run" / "pretrain" / "metrics.jsonl")[-1]
    assert 0 <= first["val_oks"] <= 1  # heatmaps find the same joints on the photo


def test_the_evaluation_measures_what_validation_did(folder: Path, model: PoseClassifier) -> None:
    last = read_metrics(folder / "run" / "metrics.jsonl")[-1]
    options = PredictionOptions(flip=False, num_samples=2)
    # Validation comes before the logits' sharpness is calibrated.
    plain = copy.deepcopy(model)
    plain.config = replace(model.config, calibration=replace(model.config.calibration, sharpness=1.0))
    found = evaluate_photos({"PCT": plain}, persons(folder), options, limit=8)
    result, main = found.numbers["models"]["PCT"], found.numbers["models"]["PCT"]["poses"]["expected pose"]
    assert main["mpjpe"] == pytest.approx(last["val_mpjpe_mm"], rel=1e-3)
    assert main["p_mpjpe"] == pytest.approx(last["val_p_mpjpe_mm"], rel=1e-3)
    assert result["poses"]["true tokens"]["mpjpe"] == pytest.approx(last["val_oracle_mpjpe_mm"], rel=1e-3)
    assert result["tokens"]["top1"] == pytest.approx(last["val_top1"], rel=1e-3, abs=1e-6)
    kinds = [main[f"{kind}_error"] for kind in ("seen", "occluded", "outside")]
    assert sum(kind["count"] for kind in kinds) == 8 * 16
    mean = sum(kind["count"] * (kind["mean"] or 0) for kind in kinds) / (8 * 17)
    assert mean == pytest.approx(main["mpjpe"], rel=1e-6)
    means = [joint["error"]["mean"] for joint in result["joints"]]
    assert np.mean(means) == pytest.approx(main["mpjpe"], rel=1e-6)
    assert ((found.poses["PCT"].confidence > 0) & (found.poses["PCT"].confidence <= 1)).all()


def test_the_tool_writes_a_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people = folder / "people"
    command = [str(people / "annotations.json"), "--images", str(people / "images"), "--quiet", "--samples", "2"]
    command += ["--model", str(folder / "run" / "model"), "--out", str(folder / "report"), "--limit", "6"]
    tool = load_tool("evaluate_photos")
    assert tool.main(command) == 0
    out = capsys.readouterr().out
    mpjpe = out[out.index("MPJPE") :].split(",")[0]
    numbers = check_report(folder / "report", {"typical", "hidden", "worst", "best", "calibration"}, [mpjpe[6:]])
    assert mpjpe == f"MPJPE {numbers['models']['PCT']['poses']['expected pose']['mpjpe']:.1f} mm"
    assert tool.main([*command, "--force", "--boxes", "boxes.json"]) == 1
    assert "--boxes and --heatmap are for 2D poses" in capsys.readouterr().err


def test_the_tool_calibrates_it_anew(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(folder / "run" / "model", tmp_path / "model")
    people = folder / "people"
    command = [str(tmp_path / "model"), str(people / "annotations.json"), "--images", str(people / "images")]
    assert cli.main(["calibrate", *command, "--limit", "4"]) == 0
    fitted = PoseClassifier.from_pretrained(tmp_path / "model").config.calibration
    assert str(fitted) in capsys.readouterr().out


def test_predictions_are_the_estimators_poses_in_space(folder: Path, model: PoseClassifier, tmp_path: Path) -> None:
    photos = find_photos([folder / "people" / "images"])[:3]
    estimator = PoseEstimator(model, detector=WholePhoto())
    ids = {photo.name: i for i, photo in enumerate(photos)}
    summary = predict_files(estimator, photos, tmp_path / "out", image_ids=ids)
    assert summary.persons == 3
    entries = json.loads((tmp_path / "out" / "keypoints.json").read_text())
    for photo, entry in zip(photos, entries, strict=True):
        poses = estimator.predict(photo.path)
        assert poses.is_3d
        assert "keypoints" not in entry
        np.testing.assert_allclose(entry["keypoints3d"], poses.keypoints[0], atol=0.06)
        np.testing.assert_allclose(entry["scores"], poses.scores[0], atol=1e-4)
        assert entry["keypoints3d"][0] == [0, 0, 0]
        with Image.open(tmp_path / "out" / "drawn" / photo.name) as drawn, Image.open(photo.path) as plain:
            assert drawn.size == (plain.width + 2 * plain.height, plain.height)
            assert np.asarray(drawn)[:, plain.width :].std() > 3
    decode_file(model.tokenizer, tmp_path / "out" / "tokens.parquet", tmp_path / "poses.npz")
    with np.load(tmp_path / "poses.npz") as decoded:
        joints = decoded["keypoints"]
    likely = estimator.predict(photos[1].path).likely_keypoints[0]
    np.testing.assert_allclose(joints[1] - joints[1, :1], likely, atol=0.1)


def test_the_shipped_config_learns_in_metres() -> None:
    run = load_run("classifier", ROOT / "configs" / "classifier_people3d.yaml", [])
    assert run.tokenizer == "h36m17"
    assert run.data.train == "generated"
    assert run.loss.beta == 0.05
