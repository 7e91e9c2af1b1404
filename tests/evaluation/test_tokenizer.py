"""The evaluation of tokenizers and its report, end to end: numbers against independent sums, files, refusals."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_bodies import make_tokenizer_3d, write_mocap
from tiny_evaluation import check_report, make_person_tokenizer, make_table

from pct.cli.main import main
from pct.evaluation.tokens.coders import Codec
from pct.evaluation.tokens.evaluate import TokenizerEvaluation, action_kind, evaluate_tokenizer, measure_reconstruction
from pct.evaluation.tokens.files import read_poses, run_evaluation
from pct.evaluation.tokens.report import completion_panels
from pct.files.coco_writer import write_coco_poses
from pct.files.motion.mocap import load_mocap, split_mocap
from pct.poses import Poses
from pct.skeleton import CROWDPOSE14, H36M17
from pct.tokenizer import PoseTokenizer
from pct.training.tokenizer.augment import seen_by_cameras

PERSONS, BODIES = make_person_tokenizer(), make_tokenizer_3d(layout="residual")
# Enough clips of subject a that one goes to the tests and one to the validation.
LENGTHS = (4, 5, 6, 3, 4, 5, 3, 4)
PICTURES = {"typical", "worst", "completions", "codebook_use", "token_anatomy"}


@pytest.fixture(scope="module")
def persons(tmp_path_factory: pytest.TempPathFactory) -> TokenizerEvaluation:
    """Run a 2D evaluation from files; its report is in ``data``'s folder."""
    folder = tmp_path_factory.mktemp("persons")
    for name, n, seed in (("val", 40, 0), ("train", 200, 1)):
        write_coco_poses(folder / f"{name}.json", [make_table(n, seed)])
    content = json.loads((folder / "val.json").read_text())
    content["annotations"][0]["bbox"] = [1, 2, 0, 4]
    for annotation in content["annotations"][:4]:
        annotation["area_estimated"] = True
    (folder / "val.json").write_text(json.dumps(content))
    said: list[str] = []
    evaluation = run_evaluation(
        PERSONS, folder / "val.json", folder / "report", folder / "train.json", limit=38, progress=said.append
    )
    assert "skipped 1 bad annotations" in said[0]
    evaluation.numbers["folder"] = str(folder)
    return evaluation


@pytest.fixture(scope="module")
def mocap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mocap(tmp_path_factory.mktemp("mocap") / "mocap.npz", LENGTHS, last=("cmu06", "cmu07"))


@pytest.fixture(scope="module")
def table(mocap: Path) -> Poses:
    return load_mocap(mocap)


@pytest.fixture(scope="module")
def bodies(table: Poses) -> TokenizerEvaluation:
    return evaluate_tokenizer(BODIES, table, table, seed=3)


def test_perfect_reconstruction_has_ap_one_and_error_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    table, codec = make_table(), Codec(make_person_tokenizer())
    target = codec.view(table)
    indices = codec.encode(target, table.visible)
    monkeypatch.setattr(codec.tokenizer, "decode", lambda ids, bbox: table.keypoints)
    decoded, result = measure_reconstruction(codec, table, target, indices)
    torch.testing.assert_close(decoded, target)
    assert (result["coco"]["ap"], result["mean_oks"]) == pytest.approx((1, 1))
    assert result["error"]["mean"] == pytest.approx(0, abs=1e-4)
    assert set(result["pck"].values()) == {1}


def test_errors_are_pixels_of_the_crop_whatever_the_image_scale() -> None:
    table = make_table()
    large = replace(table, keypoints=table.keypoints * 4, bbox=table.bbox * 4, area=table.area * 16)
    one, two = (evaluate_tokenizer(PERSONS, t).numbers["reconstruction"] for t in (table, large))
    assert one["error"]["mean"] == pytest.approx(two["error"]["mean"], rel=1e-4)
    assert one["mean_oks"] == pytest.approx(two["mean_oks"], rel=1e-4)
    indices = PERSONS.encode(table.keypoints, table.visible, table.bbox)
    moved = (PERSONS.decode(indices, table.bbox) - table.keypoints).norm(dim=-1)
    by_hand = moved / (table.bbox[:, 2:].amax(dim=1) * 1.25)[:, None] * 256
    assert one["error"]["mean"] == pytest.approx(float(by_hand[table.visible].mean()), rel=1e-4)


def test_a_2d_report_from_files_is_whole(persons: TokenizerEvaluation) -> None:
    folder = Path(persons.numbers["folder"])
    words = ("How well a pose survives", "ridge regression", "lower body", "bins of 8 px", "noise 4 px")
    numbers = check_report(folder / "report", PICTURES, words)
    assert numbers["provenance"]["fingerprint"] == PERSONS.fingerprint()
    assert numbers["reconstruction"]["coco"]["ap"] == persons.numbers["reconstruction"]["coco"]["ap"]
    assert numbers["reconstruction"]["num_poses"] == 38
    assert numbers["provenance"]["baseline_data"] == "train.json"
    notes = numbers["provenance"]["notes"]
    assert notes[0].startswith("1 bad annotations were left out; the first: ")
    assert notes[1] == "Only 38 randomly chosen poses of the file were evaluated."
    assert re.search(r"[23] of 38 persons", notes[2])
    with pytest.raises(FileExistsError):
        run_evaluation(PERSONS, folder / "val.json", folder / "report")


def test_completion_has_both_baselines_or_none(persons: TokenizerEvaluation) -> None:
    rows = persons.numbers["completion"]["rows"]
    assert [row["hidden"] for row in rows] == ["1", "2", "3", "4", "5", "6", "7", "8", "lower body"]
    assert all(set(row["errors"]) == {"tokenizer", "ridge", "mean pose"} for row in rows)
    alone = evaluate_tokenizer(PERSONS, make_table()).numbers
    assert set(alone["completion"]["rows"][0]["errors"]) == {"tokenizer"}
    assert alone["completion"]["num_baseline_poses"] == 0
    assert alone["worth"]["coders"] == ["tokenizer", "bins of 1 px", "bins of 4 px", "bins of 8 px"]


def test_worth_has_every_coder_in_every_part(persons: TokenizerEvaluation, bodies: TokenizerEvaluation) -> None:
    for evaluation, noise in ((persons, 2.0), (bodies, 10.0)):
        worth = evaluation.numbers["worth"]
        coders, rate = worth["coders"], worth["rate"]
        assert len(coders) == 4
        assert set(coders) <= {point["coder"] for point in rate}
        assert {(r["coder"], r["noise"]) for r in worth["stability"]} >= {(coder, noise) for coder in coders}
        assert list(worth["likeness"]["by_ids"]) == list(worth["likeness"]["by_vectors"]) == coders
        assert [row["coder"] for row in worth["locality"]["coders"]] == coders
        reconstructed = evaluation.numbers["reconstruction"]
        whole = next(p for p in reversed(rate) if p["coder"] == "tokenizer")
        mean = reconstructed["error"]["mean"] if "error" in reconstructed else reconstructed["mpjpe"]
        assert whole["error"] == pytest.approx(mean, rel=1e-5)
        assert whole["entropy_bits"] == pytest.approx(evaluation.numbers["codebook"]["bits_per_pose"])


def test_evaluation_is_the_same_twice(table: Poses, bodies: TokenizerEvaluation) -> None:
    again = evaluate_tokenizer(BODIES, table, table, seed=3)
    for name in ("reconstruction", "completion", "codebook", "worth"):
        assert again.numbers[name] == bodies.numbers[name]


def test_3d_errors_equal_a_calculation_through_encode_and_decode(table: Poses, bodies: TokenizerEvaluation) -> None:
    seen = seen_by_cameras(table, BODIES.space, 3) * 1000
    far = torch.tensor([100.0, 200.0, 4000.0])
    decoded = BODIES.decode(BODIES.encode(seen + far), (seen + far)[:, 0]).numpy()
    errors = np.linalg.norm((decoded - decoded[:, :1]) - seen.numpy(), axis=-1)
    result = bodies.numbers["reconstruction"]
    means = [result[name] for name in ("p_mpjpe", "n_mpjpe", "mpjpe")]
    assert means[2] == pytest.approx(errors.mean(), rel=1e-3)
    assert [j["name"] for j in result["joints"]] == list(H36M17.keypoint_names)
    by_joint = [j["error"]["mean"] for j in result["joints"]]
    assert by_joint == pytest.approx(errors.mean(axis=0), rel=1e-3, abs=1e-3)
    assert means[0] < means[1] <= means[2] + 1e-9
    assert (result["num_poses"], result["num_clips"]) == (sum(LENGTHS), len(LENGTHS))


def test_groups_are_means_of_their_poses(table: Poses, bodies: TokenizerEvaluation) -> None:
    result, error = bodies.numbers["reconstruction"], bodies.error
    subjects = np.array(table.subject_ids)[table.clip_index]
    for name, mean in result["subjects"].items():
        assert mean == pytest.approx(float(error[torch.from_numpy(subjects == name)].mean()))
    assert list(result["subjects"]) == ["a", "cmu06", "cmu07"]
    assert list(result["kinds"]) == ["jump", "walk"]
    assert result["action_mean"] == pytest.approx(np.mean(list(result["kinds"].values())))
    names = ("basketball - dribble, shoot", "basketball", "basketball signal")
    assert {action_kind(name) for name in names} == {"basketball", "basketball signal"}


def test_the_root_is_never_hidden(table: Poses, bodies: TokenizerEvaluation) -> None:
    rows = {row["hidden"]: row["errors"] for row in bodies.numbers["completion"]["rows"]}
    assert list(rows) == ["1", "2", "3", "4", "lower body"]
    # Hips, knees and ankles; the hip in the middle is the root.
    assert rows["lower body"]["tokenizer"]["count"] == 6 * len(table)
    # The baselines were fitted to other cameras' views of the same bodies: ridge must learn something from them.
    assert rows["1"]["ridge"]["mean"] < rows["1"]["mean pose"]["mean"]
    panels = completion_panels(bodies)
    assert len(panels) == 6
    for panel in panels:
        assert len(panel.layers) == 3  # the truth, the ridge regression, the tokenizer
        given = torch.as_tensor(panel.layers[-1].visible)
        assert given[0]
        assert not given.all()
        assert "ridge" in panel.caption


def test_a_3d_report_is_whole_and_takes_the_test_clips(mocap: Path, tmp_path: Path, capsys) -> None:
    BODIES.save_pretrained(tmp_path / "3d")
    out = tmp_path / "report"
    command = ["evaluate", str(mocap), "-o", str(out), "--model", str(tmp_path / "3d")]
    assert main(command) == 0
    words = ("How well a 3D pose survives", "P-MPJPE", "Completion", "Codebook and tokens", "cmu06", "left wrist")
    numbers = check_report(out, PICTURES, words)
    result = numbers["reconstruction"]
    assert result["num_poses"] == len(split_mocap(load_mocap(mocap)).test)
    assert {"cmu06", "cmu07"} <= set(result["subjects"])
    assert numbers["provenance"]["baseline_data"] == "mocap.npz (training clips)"
    assert main(command) != 0
    assert "already holds" in capsys.readouterr().err
    every = read_poses(BODIES, mocap, split="all")
    assert (len(every.poses), every.baseline, len(every.notes)) == (sum(LENGTHS), None, 1)


@pytest.mark.parametrize(
    ("model", "name", "split", "message"),
    [
        (PERSONS, "mocap.npz", None, "the model's poses are 2D; it is measured on labelled joints in a .json"),
        (BODIES, "coco.json", None, "the model's poses are 3D; it is measured on mocap in a .npz"),
        (PERSONS, "coco.json", "all", "split all chooses clips of mocap"),
        (BODIES, "mocap.npz", "train", "split is 'train'; it must be one of test, all"),
    ],
)
def test_files_that_do_not_fit_are_named(model: PoseTokenizer, name: str, split: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_poses(model, name, split=split)


@pytest.mark.parametrize(
    ("config", "choose", "message"),
    [
        (replace(PERSONS.config, skeleton=CROWDPOSE14), lambda people, bodies: (people, None), "crowdpose14"),
        (replace(PERSONS.config, guidance_channels=4), lambda people, bodies: (people, None), "guided"),
        (PERSONS.config, lambda people, bodies: (people.select(people.area < 0), None), "no test poses"),
        (PERSONS.config, lambda people, bodies: (bodies, None), "the poses are 3D; .* pose space is crop2d"),
        (BODIES.config, lambda people, bodies: (people, None), "the poses are 2D; .* pose space is root3d"),
        (BODIES.config, lambda people, bodies: (bodies, hide_some(bodies)), "baseline pose 0 has unknown joints"),
    ],
)
def test_poses_that_do_not_fit_are_named(config, choose, message: str, table: Poses) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_tokenizer(PoseTokenizer(config).eval(), *choose(make_table(), table))


def hide_some(bodies: Poses) -> Poses:
    return replace(bodies, visible=bodies.visible & (torch.arange(17) % 3 > 0))
