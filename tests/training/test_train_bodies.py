"""Tests of training a 3D tokenizer: it learns from the command line, and clips and bodies stay what they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_bodies import write_mocap
from tiny_runs import train

from pct.people.poses import generate_poses3d
from pct.tokenizer import PoseTokenizer
from pct.training.kinds import load_run
from pct.training.run_files import read_metrics
from pct.training.tokenizer.augment import seen_by_cameras
from pct.training.tokenizer.data import load_split

ROOT = Path(__file__).parents[2]
IN_SPACE = (
    *("space.kind=root3d", "data.num_generated=200", "data.test_subjects=[b]", "data.val_share=0.25"),
    *("batch_size=64", "steps=40", "log_every=5", "val_every=20", "optim.lr=0.005"),
    *("model.layout=residual", "model.encoder_width=32", "model.decoder_width=4"),
    *("model.num_tokens=8", "model.codebook_size=64"),
)


@pytest.fixture
def config(write_config: Callable[..., Path]) -> Path:
    return write_config("tokenizer")


@pytest.fixture
def mocap(tmp_path: Path) -> Path:
    """Write a mocap file of 10 clips of 2 subjects."""
    return write_mocap(tmp_path / "mocap.npz", (6,) * 10)


def test_a_3d_tokenizer_learns_from_the_command_line(config: Path, mocap: Path, tmp_path: Path) -> None:
    assert train("tokenizer", config, *IN_SPACE, f"data.train={mocap}") == 0
    out = tmp_path / "run"
    lines = read_metrics(out / "metrics.jsonl")
    assert lines[-1]["keypoint_loss"] < 0.7 * lines[0]["keypoint_loss"]
    assert "val_mean_error_mm" in lines[-1]
    tokenizer = PoseTokenizer.from_pretrained(out / "model")
    assert tokenizer.space.kind == "root3d"
    assert tokenizer.skeleton.name == "h36m17"
    poses = generate_poses3d(4, seed=9).keypoints
    indices = tokenizer.encode(poses)
    decoded = tokenizer.decode(indices, poses[:, 0])
    still = (poses - poses.mean(dim=(0, 1))).norm(dim=-1).mean()
    assert indices.shape == (4, 8)
    assert (decoded - poses).norm(dim=-1).mean() < still


def test_validation_clips_are_no_training_clips(config: Path, mocap: Path) -> None:
    run = load_run("tokenizer", config, [*IN_SPACE, f"data.train={mocap}", "data.mocap_repeats=2"])
    split = load_split(run.data, in_space=True, seed=0)
    train, val = ({t.clip_ids[int(c)] for c in t.clip_index} for t in (split.train, split.val))
    assert not train & val
    assert {"clip8", "clip9"}.isdisjoint(train | val)
    assert "generated" in train
    frames = 6 * (len(train) - 1)
    assert len(split.train) == 2 * frames + 200


def test_the_cameras_of_the_validation_turn_but_do_not_change_bodies() -> None:
    table = generate_poses3d(8)
    space = load_run("tokenizer", ROOT / "configs" / "tokenizer_h36m17.yaml", []).space
    seen = seen_by_cameras(table, space) * space.millimetres
    torch.testing.assert_close(torch.cdist(seen, seen), torch.cdist(table.keypoints, table.keypoints), atol=0.5, rtol=0)
    assert (seen - (table.keypoints - table.keypoints[:, :1])).norm(dim=-1).mean() > 100
    assert seen[:, 0].abs().max() == 0
    assert (seen[:, 10, 1] < seen[:, [3, 6], 1].amax(dim=1)).float().mean() > 0.8  # heads above feet, but of some
    assert torch.equal(seen, seen_by_cameras(table, space) * space.millimetres)
    assert not torch.allclose(seen, seen_by_cameras(table, space, 1) * space.millimetres)
