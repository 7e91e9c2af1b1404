"""Tests of a lifter's evaluation: perfect and shifted poses, missing joints, and the tokenizer's floor."""

from __future__ import annotations

import pytest
import torch

from pct.evaluation.lifting import evaluate_lifter, measure, tokenizer_floor
from pct.lifting.config import LifterConfig
from pct.lifting.detector_noise import NoiseConfig
from pct.lifting.lifter import Lifter
from pct.lifting.pairs import photograph
from pct.people.poses import generate_poses3d
from pct.skeleton import H36M16, H36M17
from pct.tokenizer import PoseTokenizer


def make_pairs(n: int = 24):
    return photograph(generate_poses3d(n, seed=1), torch.Generator().manual_seed(2))


class Oracle(Lifter):
    """A lifter that knows the answers."""

    def __init__(self, pairs) -> None:
        super().__init__(LifterConfig(network="gcn", width=8, depth=1))
        self.answers = pairs.root_relative()
        self.asked: list[torch.Tensor] = []
        self.eval()

    def lift(self, keypoints2d, visible=None, image_size=None, flip=False):
        from pct.lifting.lifter import LiftedPoses

        self.asked.append(visible)
        return LiftedPoses(self.answers)


def test_the_truth_has_no_error_in_any_measure() -> None:
    pairs = make_pairs()
    found = evaluate_lifter(Oracle(pairs), pairs).numbers
    assert max(found["mpjpe"], found["p_mpjpe"], found["n_mpjpe"]) < 1e-2
    assert found["pck"] == 1
    assert found["auc"] == pytest.approx(30 / 31)
    assert found["poses"] == 24
    assert found["likely_mpjpe"] is None
    assert found["per_action"].keys() == {"generated", "mean"}
    assert len(found["pck_joints"]) == 14


def test_a_scaled_pose_has_error_until_the_scale_is_taken_out() -> None:
    target = make_pairs().root_relative()
    found = measure(1.1 * target, target, H36M17, ["walk"] * len(target))
    assert found["mpjpe"] == pytest.approx(float(target.double().norm(dim=-1).mean()) / 10, rel=1e-4)
    assert max(found["n_mpjpe"], found["p_mpjpe"]) < 1e-2
    by_joint = [joint["error"]["mean"] for joint in found["joints"]]
    assert sum(by_joint) / 17 == pytest.approx(found["mpjpe"])
    assert by_joint[0] == 0


def test_missing_joints_and_errors_reach_the_lifter() -> None:
    pairs = make_pairs()
    oracle = Oracle(pairs)
    evaluate_lifter(oracle, pairs, missing=2)
    evaluate_lifter(oracle, pairs, NoiseConfig(missing_share=0.0))
    assert (oracle.asked[0].sum(dim=1) == 15).all()
    assert oracle.asked[1].all()


def test_a_real_lifter_is_measured_and_errors_hurt_it() -> None:
    torch.manual_seed(0)
    pairs = make_pairs(64)
    lifter = Lifter(LifterConfig(network="gcn", width=16, depth=1)).eval()
    clean, again = (evaluate_lifter(lifter, pairs).numbers for _ in range(2))
    assert {**again, "provenance": clean["provenance"]} == clean
    assert evaluate_lifter(lifter, pairs, NoiseConfig(jitter=0.2)).numbers["mpjpe"] != clean["mpjpe"]
    assert clean["p_mpjpe"] <= clean["mpjpe"]


def test_the_floor_of_the_shipped_tokenizer_is_low() -> None:
    assert tokenizer_floor(PoseTokenizer.from_pretrained("h36m17"), make_pairs()) < 40


def test_other_skeletons_and_pairs_without_whole_poses_are_refused() -> None:
    pairs = make_pairs(4)
    with pytest.raises(ValueError, match="skeleton h36m17, but the lifter reads h36m16"):
        evaluate_lifter(Lifter(LifterConfig(network="gcn", width=8, depth=1, skeleton=H36M16)).eval(), pairs)
    from dataclasses import replace

    with pytest.raises(ValueError, match="no pair has all"):
        evaluate_lifter(Oracle(pairs), replace(pairs, visible=torch.zeros_like(pairs.visible)))
