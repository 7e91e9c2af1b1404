"""Training steps on photos in two processes: losses and gradients are those of one process with the whole batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_batches import make_batch
from tiny_photo_models import make_classifier, make_heatmap_model
from tiny_runs import in_two_processes
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pct import distributed
from pct.photos.crop import PhotoBatch
from pct.training.photos.config import TokenLoss
from pct.training.photos.steps import HeatmapStep, TokenStep

Result = dict[str, dict[str, Tensor]]


def uneven_batch() -> PhotoBatch:
    """Persons whose labelled joints lie mostly in the first half of the batch; one of the second half has none."""
    batch = make_batch()
    visibility = batch.visibility.clone()
    visibility[:2] = 2
    visibility[2, 3:] = 0
    visibility[3] = 0
    return replace(batch, visibility=visibility)


def models() -> dict[str, tuple[nn.Module, TokenStep | HeatmapStep]]:
    """Models in evaluation mode, for batch norms see each process's own persons, and their steps."""
    classifier, heatmaps = make_classifier(), make_heatmap_model()
    return {
        "tokens": (classifier, TokenStep(classifier.tokenizer, TokenLoss())),
        "heatmaps": (heatmaps, HeatmapStep(heatmaps, sigma=1.0)),
    }


def run(rows: slice) -> Result:
    """Return losses and gradients of the rows of this process, averaged over all processes as in training."""
    results: Result = {}
    for name, (model, step) in models().items():
        shared = DistributedDataParallel(model) if distributed.is_distributed() else model
        losses = step(shared, uneven_batch().rows(rows))
        losses["loss"].backward()
        results[name] = {f"grad {n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
        for part, value in losses.items():
            results[name][part] = distributed.all_reduce_sum(value.detach()) / distributed.world_size()
    return results


def _work(rank: int) -> Result:
    return run(slice(2 * rank, 2 * rank + 2))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    """What each of two gloo processes with half the batch found."""
    return in_two_processes(_work, tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize("name", ["tokens", "heatmaps"])
def test_two_processes_with_half_the_batch_step_as_one(two: list[Result], name: str) -> None:
    one = run(slice(0, 4))[name]
    assert sum(key.startswith("grad") for key in one) > 20
    for of_two in two:
        assert of_two[name].keys() == one.keys()
        for key, value in one.items():
            torch.testing.assert_close(of_two[name][key], value, rtol=1e-4, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}")


def test_the_mean_over_all_is_the_plain_mean_in_one_process_and_0_without_items() -> None:
    values, counted = torch.tensor([1.0, 4.0, 7.0]), torch.tensor([True, False, True])
    assert distributed.mean_over_all(values, counted) == 4.0
    assert distributed.mean_over_all(values, torch.zeros(3, dtype=torch.bool)) == 0.0
