"""The second phase of training: only the network that estimates unknown joints moves, and it resumes like the first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pct import PoseTokenizer
from pct.layers.losses import distance_loss
from pct.training import loop
from pct.training.config import TokenizerRun, load_run
from pct.training.run_files import METRICS, read_metrics
from pct.training.run_folder import COMPLETION_FOLDER, MODEL_FOLDER, prepare_folder
from pct.training.tokenizer import CropPoses, train_tokenizer

CONFIG = """
steps: 6
batch_size: 16
log_every: 3
checkpoint_every: 3
threads: 1
report: false
data: {num_generated: 100, val_share: 0.2}
model: {fill: network, fill_width: 16, fill_blocks: 1, encoder: mlp, encoder_width: 16, encoder_blocks: 1,
        decoder: flat, decoder_width: 8, quantizer: quantile, codebook_dim: 2, codebook_size: 32, levels: [8, 4]}
"""


def _run(folder: Path, completion_steps: int) -> TokenizerRun:
    folder.mkdir(exist_ok=True)
    (folder / "base.yaml").write_text(CONFIG)
    overrides = [f"out={folder / 'run'}", f"completion.steps={completion_steps}", "device=cpu"]
    return load_run(folder / "base.yaml", overrides)


def _train(run: TokenizerRun, resume: bool = False) -> dict[str, torch.Tensor]:
    train_tokenizer(run, CropPoses(run), prepare_folder(run, resume=resume, force=False))
    return PoseTokenizer.from_pretrained(Path(run.out) / MODEL_FOLDER).state_dict()


def test_only_the_estimating_network_moves(tmp_path: Path) -> None:
    first = _train(_run(tmp_path, 0))
    second = _train(_run(tmp_path, 7), resume=True)
    moved = {name for name in first if not torch.equal(first[name], second[name])}
    assert moved
    assert all(name.startswith("embedding.fill.") for name in moved), moved
    rows = read_metrics(tmp_path / "run" / COMPLETION_FOLDER / METRICS)
    assert rows[-1]["step"] == 7
    assert "val_completion_error_px" in rows[-1]


def test_adaptation_moves_all_but_the_network(tmp_path: Path) -> None:
    run = _run(tmp_path, 3)
    first = _train(run)
    adapted = _train(replace(run, completion=replace(run.completion, adapt_steps=5)), resume=True)
    moved = {name for name in first if not torch.equal(first[name], adapted[name])}
    assert not any(name.startswith("embedding.fill.") for name in moved), moved
    assert {"encoder.start.weight", "decoder.start.weight", "embedding.mask_token"} <= moved


def test_a_resumed_phase_gives_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _train(_run(tmp_path / "whole", 6))

    class KilledError(Exception):
        pass

    cut = _run(tmp_path / "cut", 6)
    _train(replace(cut, completion=replace(cut.completion, steps=0)))
    save = loop._save

    def save_then_die(*args: object) -> None:
        save(*args)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_save", save_then_die)
        with pytest.raises(KilledError):
            _train(cut, resume=True)
    resumed = _train(cut, resume=True)
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)


def test_a_config_without_the_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("completion: {steps: 5}")
    with pytest.raises(ValueError, match=r"completion\.steps is 5; it must be 0 unless model\.fill is network"):
        load_run(tmp_path / "run.yaml", [])


def test_distance_loss_is_the_mean_distance_of_the_joints_that_count() -> None:
    target = torch.zeros(2, 3, 2)
    keypoints = torch.tensor([[[3.0, 4.0], [9.0, 9.0], [0.0, 2.0]], [[9.0, 9.0]] * 3])
    visible = torch.tensor([[True, False, True], [False] * 3])
    torch.testing.assert_close(distance_loss(keypoints, target, visible), torch.tensor(3.5), atol=1e-3, rtol=0)
    poisoned = torch.where(visible[..., None], target, torch.nan)
    torch.testing.assert_close(distance_loss(keypoints, poisoned, visible), torch.tensor(3.5), atol=1e-3, rtol=0)
    assert distance_loss(keypoints, target, torch.zeros_like(visible)) == 0
