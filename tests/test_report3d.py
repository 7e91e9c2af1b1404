"""The report on a 3D tokenizer: what is measured against independent sums, its files, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_bodies import make_tokenizer_3d, write_mocap
from tiny_codec import TOKENIZER

from pct.cli import main
from pct.data.body_augment import seen_by_cameras
from pct.data.body_table import BodyTable, split_mocap
from pct.data.mocap import load_mocap
from pct.evaluation.evaluate3d import action_kind, evaluate_tokenizer_3d
from pct.evaluation.report3d import run_evaluation_3d
from pct.evaluation.results3d import TokenizerEvaluation3D
from pct.evaluation.root_codec import RootCodec
from pct.skeleton import H36M17

MODEL = make_tokenizer_3d()
# Enough clips of subject a that one goes to the tests and one to the validation.
LENGTHS = (4, 5, 6, 3, 4, 5, 3, 4)


@pytest.fixture(scope="module")
def mocap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_mocap(tmp_path_factory.mktemp("mocap") / "mocap.npz", LENGTHS)
    with np.load(path) as file:
        arrays = dict(file)
    arrays["subject_id"] = np.array(["a"] * 6 + ["cmu06", "cmu07"])
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def bodies(mocap: Path) -> BodyTable:
    return BodyTable.from_mocap(load_mocap(mocap))


@pytest.fixture(scope="module")
def evaluation(bodies: BodyTable) -> TokenizerEvaluation3D:
    return evaluate_tokenizer_3d(MODEL, bodies, bodies, seed=3, command="test")


def test_cameras_turn_bodies_and_change_nothing_else(bodies: BodyTable) -> None:
    seen = seen_by_cameras(bodies, MODEL.space, 3) * MODEL.space.millimetres
    assert seen[:, 0].abs().max() == 0
    a, b = np.array(H36M17.edges).T
    lengths = [(x[:, a] - x[:, b]).norm(dim=-1) for x in (seen, bodies.keypoints)]
    torch.testing.assert_close(*lengths, atol=0.05, rtol=0)
    assert (seen[:, 10, 1] < seen[:, [3, 6], 1].amax(dim=1)).all()  # heads above feet
    torch.testing.assert_close(seen, seen_by_cameras(bodies, MODEL.space, 3) * MODEL.space.millimetres)
    assert not torch.allclose(seen, seen_by_cameras(bodies, MODEL.space, 4) * MODEL.space.millimetres)


def test_errors_equal_a_calculation_through_encode_and_decode(bodies, evaluation) -> None:
    seen = seen_by_cameras(bodies, MODEL.space, 3) * MODEL.space.millimetres
    far = torch.tensor([100.0, 200.0, 4000.0])
    decoded = MODEL.decode(MODEL.encode(seen + far), (seen + far)[:, 0]).numpy()
    errors = np.linalg.norm((decoded - decoded[:, :1]) - seen.numpy(), axis=-1)
    result = evaluation.reconstruction
    assert result.mpjpe.mean == pytest.approx(errors.mean(), rel=1e-3)
    assert [j.name for j in result.joints] == list(H36M17.keypoint_names)
    assert [j.error.mean for j in result.joints] == pytest.approx(errors.mean(axis=0), rel=1e-3, abs=1e-3)
    assert result.p_mpjpe.mean < result.n_mpjpe.mean <= result.mpjpe.mean + 1e-9
    assert (result.num_poses, result.num_clips) == (sum(LENGTHS), len(LENGTHS))


def test_groups_hold_every_pose_once(evaluation) -> None:
    result = evaluation.reconstruction
    for groups in (result.kinds, result.subjects, result.clips):
        assert sum(g.num_poses for g in groups) == result.num_poses
        mean = sum(g.num_poses * g.mpjpe for g in groups) / result.num_poses
        assert mean == pytest.approx(result.mpjpe.mean)
    assert [g.name for g in result.kinds] == ["jump", "walk"]
    assert result.action_mean == pytest.approx(np.mean([g.mpjpe for g in result.kinds]))
    assert [g.mpjpe for g in result.clips] == sorted((g.mpjpe for g in result.clips), reverse=True)
    assert {action_kind(a) for a in ("basketball - dribble, shoot", "basketball", "basketball signal")} == {
        "basketball",
        "basketball signal",
    }


def test_hidden_joints_do_not_leak_and_the_root_is_never_hidden(bodies, evaluation) -> None:
    codec = RootCodec(MODEL)
    seen = seen_by_cameras(bodies, MODEL.space, 0) * MODEL.space.millimetres
    visible = torch.ones(len(seen), 17, dtype=torch.bool)
    visible[:, [0, 5, 12]] = False
    lost = seen.masked_fill(~visible[..., None], torch.nan)
    filled = codec.complete(lost, visible)
    torch.testing.assert_close(filled, codec.complete(lost.nan_to_num(777.0), visible))
    known = visible.clone()
    known[:, 0] = True
    torch.testing.assert_close(filled, codec.decode(codec.encode(seen, known)))
    rows = {row.hidden: row for row in evaluation.completion.rows}
    assert list(rows) == ["1", "2", "3", "4", "lower body"]
    # Hips, knees and ankles; the hip in the middle is the root.
    assert rows["lower body"].errors["tokenizer"].count == 6 * len(bodies)
    assert set(rows["1"].errors) == {"tokenizer", "ridge", "mean pose"}
    # The baselines were fitted to other cameras' views of the same bodies: ridge must learn something from them.
    assert rows["1"].errors["ridge"].mean < rows["1"].errors["mean pose"].mean
    for example in evaluation.examples.completions:
        assert example.given[0]
        assert not example.given.all()


def test_a_report_is_whole_and_takes_the_test_clips(mocap, tmp_path) -> None:
    out = tmp_path / "report"
    evaluation = run_evaluation_3d(MODEL, mocap, out)
    test = split_mocap(load_mocap(mocap)).test
    assert evaluation.reconstruction.num_poses == len(test.joints)
    assert {"cmu06", "cmu07"} <= {g.name for g in evaluation.reconstruction.subjects}
    numbers = json.loads((out / "metrics.json").read_text())
    assert numbers["reconstruction"]["mpjpe"]["mean"] == evaluation.reconstruction.mpjpe.mean
    assert numbers["provenance"]["baseline_data"] == "mocap.npz (training clips)"
    page = (out / "index.html").read_text()
    for words in ("How well a 3D pose survives", "P-MPJPE", "Completion", "Codebook and tokens", "cmu06", "left wrist"):
        assert words in page
    pictures = sorted(f.stem for f in (out / "pictures").iterdir())
    shown = ["codebook_use", "completion", "completions", "joint_errors", "token_anatomy", "typical", "worst"]
    assert set(shown) <= set(pictures)
    with pytest.raises(FileExistsError, match="already holds"):
        run_evaluation_3d(MODEL, mocap, out)


def test_the_command_measures_3d_models_on_mocap_and_nothing_else(mocap, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("pct.evaluation.report3d.draw_figures_3d", lambda evaluation: {})
    MODEL.save_pretrained(tmp_path / "model")
    report, model = str(tmp_path / "report"), str(tmp_path / "model")
    command = ["evaluate", str(mocap), "-o", report]
    assert main([*command, "--model", model, "--split", "all", "--limit", "12"]) == 0
    numbers = json.loads(Path(report, "metrics.json").read_text())
    assert numbers["reconstruction"]["num_poses"] == 12
    assert numbers["completion"]["num_baseline_poses"] == 0
    assert len(numbers["provenance"]["notes"]) == 2
    TOKENIZER.save_pretrained(tmp_path / "flat")
    assert main([*command, "--force", "--model", str(tmp_path / "flat")]) != 0
    assert "the model's poses are 2D; a 2D model on labelled joints in a .json" in capsys.readouterr().err
    (tmp_path / "coco.json").write_text("{}")
    assert main(["evaluate", str(tmp_path / "coco.json"), "-o", str(tmp_path / "r"), "--model", model]) != 0
    assert "the model's poses are 3D; a 3D model is measured on mocap in a .npz" in capsys.readouterr().err


def test_what_cannot_be_measured_is_named(bodies, mocap, tmp_path) -> None:
    with pytest.raises(ValueError, match="need a root3d pose space; this tokenizer's is crop2d"):
        evaluate_tokenizer_3d(TOKENIZER, bodies)
    with pytest.raises(ValueError, match="there are no test poses"):
        evaluate_tokenizer_3d(MODEL, bodies.select(torch.arange(0)))
    half = replace(bodies, visible=bodies.visible & (torch.arange(17) != 4))
    with pytest.raises(ValueError, match="test pose 0 has unknown joints"):
        evaluate_tokenizer_3d(MODEL, half)
    with pytest.raises(ValueError, match="split is 'train'; it must be one of test, all"):
        run_evaluation_3d(MODEL, mocap, tmp_path, split="train")  # type: ignore[arg-type]
