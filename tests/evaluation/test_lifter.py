"""Evaluation of lifters: perfect and scaled poses, missing joints, and tools/evaluate_lifter.py as a user calls it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_bodies import write_mocap
from tiny_evaluation import check_report
from tiny_lifter import make_lifter
from tool_loader import load_tool

from pct.evaluation.lifting import evaluate_lifter
from pct.lifting.detector_noise import NoiseConfig
from pct.lifting.lifter import LiftedPoses, Lifter
from pct.lifting.pairs import PosePairs, photograph
from pct.people.poses import generate_poses3d
from pct.skeleton import H36M16

TOOL = load_tool("evaluate_lifter")


def make_pairs(n: int = 24) -> PosePairs:
    return photograph(generate_poses3d(n, seed=1), torch.Generator().manual_seed(2))


class Oracle(Lifter):
    """A lifter that knows the answers."""

    def __init__(self, pairs: PosePairs, scale: float = 1.0) -> None:
        super().__init__(make_lifter().config)
        self.answers, self.asked = scale * pairs.root_relative(), list[torch.Tensor]()
        self.eval()

    def lift(self, keypoints2d, visible=None, image_size=None, flip=False):  # type: ignore[no-untyped-def]
        self.asked.append(visible)
        return LiftedPoses(self.answers)


def test_the_truth_has_no_error_and_what_joints_lack_reaches_the_lifter() -> None:
    pairs = make_pairs()
    oracle = Oracle(pairs)
    found = evaluate_lifter(oracle, pairs, missing=2).numbers
    assert max(found["mpjpe"], found["p_mpjpe"], found["n_mpjpe"]) < 1e-2
    assert (found["pck"], found["auc"]) == (1, pytest.approx(30 / 31))
    assert (found["poses"], found["likely_mpjpe"], len(found["pck_joints"])) == (24, None, 14)
    assert found["per_action"].keys() == {"generated", "mean"}
    evaluate_lifter(oracle, pairs, NoiseConfig(missing_share=0.0))
    assert (oracle.asked[0].sum(dim=1) == 15).all()
    assert oracle.asked[1].all()
    with pytest.raises(ValueError, match="no pair has all"):
        evaluate_lifter(oracle, replace(pairs, visible=torch.zeros_like(pairs.visible)))
    with pytest.raises(ValueError, match="skeleton h36m17, but the lifter reads h36m16"):
        evaluate_lifter(make_lifter(skeleton=H36M16), pairs)


def test_a_scaled_pose_has_error_until_the_scale_is_taken_out() -> None:
    pairs = make_pairs()
    found = evaluate_lifter(Oracle(pairs, 1.1), pairs).numbers
    assert found["mpjpe"] == pytest.approx(float(pairs.root_relative().double().norm(dim=-1).mean()) / 10, rel=1e-4)
    assert max(found["n_mpjpe"], found["p_mpjpe"]) < 1e-2
    by_joint = [joint["error"]["mean"] for joint in found["joints"]]
    assert sum(by_joint) / 17 == pytest.approx(found["mpjpe"])
    assert by_joint[0] == 0


def test_a_real_lifter_is_measured_and_errors_hurt_it() -> None:
    pairs, lifter = make_pairs(64), make_lifter("mixer").eval()
    clean, again = (evaluate_lifter(lifter, pairs).numbers for _ in range(2))
    assert {**again, "provenance": clean["provenance"]} == clean
    assert evaluate_lifter(lifter, pairs, NoiseConfig(jitter=0.2)).numbers["mpjpe"] != clean["mpjpe"]
    assert clean["p_mpjpe"] <= clean["mpjpe"]
    likely = 1000 * lifter.tokenizer.decode(lifter.lift(pairs.keypoints2d, pairs.visible, pairs.image_size).indices)
    error = (likely - likely[:, :1] - pairs.root_relative()).norm(dim=-1).mean()
    assert clean["likely_mpjpe"] == pytest.approx(float(error), rel=1e-3)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An untrained lifter, and 20 clips of 3 subjects, two of them those of the test."""
    folder = tmp_path_factory.mktemp("lifter")
    make_lifter().save_pretrained(folder / "model")
    path = write_mocap(folder / "mocap.npz", [3] * 20, last=("cmu06", "cmu07"))
    return {"MODEL": str(folder / "model"), "MOCAP": str(path)}


def test_the_numbers_are_printed_and_written(files: dict[str, str], tmp_path: Path, capsys) -> None:
    out = tmp_path / "report"
    command = [files["MODEL"], "--mocap", files["MOCAP"], "--missing", "2", "--noise", "--out", str(out)]
    assert TOOL.main(command) == 0
    text = capsys.readouterr().out
    words = ("a detector&#39;s errors on the 2D joints, 2 joints missing", "MPJPE", "walk")
    numbers = check_report(out, {"typical", "worst", "best"}, words)
    assert f"{numbers['mpjpe']:.1f} mm" in (out / "index.html").read_text()
    # Two test subjects, and four of the other's eighteen clips.
    assert numbers["poses"] == 3 * 6
    assert f"{numbers['mpjpe']:.1f} mm" in text
    assert numbers["mpjpe"] >= numbers["p_mpjpe"] > 0
    assert TOOL.main(command) == 1
    assert "--force" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--mocap", "nowhere.npz"], "nowhere.npz: no such file"),
        (["--h36m", "nowhere.npz"], "nowhere.npz"),
        (["--mpi-inf-3dhp", "nowhere"], "nowhere"),
        (["--mocap", "MOCAP", "--missing", "17"], "missing is 17; it must be from 0 to 16"),
        (["--mocap", "MOCAP", "--out", "MOCAP"], "is a file"),
    ],
)
def test_mistakes_are_one_sentence(files: dict[str, str], changes: list[str], message: str, capsys) -> None:
    assert TOOL.main([files["MODEL"], *(files.get(part, part) for part in changes)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
