"""`pct train lifter` as a user calls it: a run, its files, its refusals; going on; several processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_runs
import torch
from tiny_bodies import bodies, make_tokenizer_3d, write_mocap
from tiny_runs import error_of

from pct.lifting.lifter import Lifter
from pct.lifting.pairs import PosePairs, photograph
from pct.people.poses import generate_poses3d
from pct.skeleton import H36M16, H36M17, Skeleton
from pct.training.kinds import load_run
from pct.training.lifting.recipe import load_pairs
from pct.training.run_files import read_metrics


@pytest.fixture
def config(write_config: Callable[[str], Path]) -> Path:
    return write_config("lifter")


def train(config: Path, *arguments: str, out: str = "run") -> int:
    """Call the tool in this process."""
    return tiny_runs.train("lifter", config, *arguments, out=out)


def token_arguments(tmp_path: Path) -> list[str]:
    make_tokenizer_3d().save_pretrained(tmp_path / "tokenizer")
    return [f"tokenizer={tmp_path / 'tokenizer'}", "lifter.head=tokens"]


def test_a_token_run_saves_its_tokenizer_and_measures_its_floor(config: Path) -> None:
    assert train(config, *token_arguments(config.parent)) == 0
    folder = config.parent / "run"
    lifter = Lifter.from_pretrained(folder / "model")
    assert lifter.tokenizer is not None
    assert lifter.tokenizer.fingerprint() == make_tokenizer_3d().fingerprint()
    poses = lifter.lift(torch.rand(3, 17, 2) * 100)
    assert poses.indices is not None
    assert poses.indices.shape == (3, 4)
    tokens = {"val_top1", "val_top5", "val_argmax_mpjpe_mm", "val_oracle_mpjpe_mm", "token_loss"}
    assert tokens <= set(read_metrics(folder / "metrics.jsonl")[-1])


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        (["data.num_generated=50", "data.test_share=0.2"], (2, 17, 2)),
        (["data.num_generated=0", "lifter.network=dhcsf", "lifter.options={frames: 3}"], (2, 3, 17, 2)),
    ],
    ids=["frames", "clips"],
)
def test_mocap_is_trained_on(config: Path, settings: list[str], shape: tuple[int, ...]) -> None:
    mocap = write_mocap(config.parent / "mocap.npz", (12,) * 12)
    shares = [f"data.train={mocap}", "data.test_subjects=[b]", "data.val_share=0.3"]
    assert train(config, *shares, *settings) == 0
    lifter = Lifter.from_pretrained(config.parent / "run" / "model")
    assert lifter.lift(torch.rand(*shape) * 100).keypoints.shape == (2, 17, 3)
    assert "val_mpjpe_mm" in read_metrics(config.parent / "run" / "metrics.jsonl")[-1]


def test_mocap_without_the_subjects_or_the_joints_asked_for_is_named(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_mocap(config.parent / "mocap.npz", (30,) * 12)
    for setting, message in (
        ("data.test_subjects=[z]", "test_subjects: no subject z; there are a, b"),
        ("data.skeleton=h36m16", "has the joints of h36m17; the run's skeleton is h36m16"),
    ):
        assert train(config, f"data.train={path}", setting, "--force") == 1
        assert message in error_of(capsys)


def test_mocap_with_swapped_sides_is_warned_of(config: Path) -> None:
    path = write_mocap(config.parent / "mocap.npz", (30,) * 12, bodies(360)[:, H36M17.flip_index])
    run = load_run("lifter", config, [f"data.train={path}", "data.test_subjects=[b]", "data.val_share=0.3"])
    with pytest.warns(UserWarning, match=r"mocap.npz, .* left and right seem to be swapped"):
        load_pairs(run, H36M17)


def test_subjects_of_training_and_validation_must_differ(tmp_path: Path) -> None:
    path = tmp_path / "h36m.yaml"
    path.write_text("recorded: {file: h36m.npz, train_subjects: [S1, S5], val_subjects: [S5]}\n")
    with pytest.raises(ValueError, match=r"recorded.val_subjects is \['S5'\]; it must be none of those trained on"):
        load_run("lifter", path, [])


@pytest.mark.parametrize("skeleton", [H36M17, H36M16])
def test_recorded_pairs_are_trained_on_by_subjects(
    config: Path, monkeypatch: pytest.MonkeyPatch, skeleton: Skeleton
) -> None:
    asked = []

    def load(path: str, subjects: tuple[str, ...], detections: str, *, skeleton: Skeleton, stride: int) -> PosePairs:
        asked.append((path, tuple(subjects), detections, skeleton.name, stride))
        return photograph(generate_poses3d(40, skeleton, seed=len(asked)), torch.Generator().manual_seed(0))

    monkeypatch.setattr("pct.training.lifting.recipe.load_h36m", load)
    recorded = "recorded: {file: h36m.npz, detections: cpn}"
    config.write_text(config.read_text().replace("data: {num_generated: 200}", recorded))
    assert train(config, "recorded.stride=5", f"data.skeleton={skeleton.name}") == 0
    assert [a[:-1] for a in asked] == [
        ("h36m.npz", ("S1", "S5", "S6", "S7"), "cpn", skeleton.name),
        ("h36m.npz", ("S8",), "cpn", skeleton.name),
    ]
    assert asked[0][-1] == 5
    assert Lifter.from_pretrained(config.parent / "run" / "model").skeleton.keypoint_names == skeleton.keypoint_names
    assert "val_mpjpe_mm" in read_metrics(config.parent / "run" / "metrics.jsonl")[-1]
