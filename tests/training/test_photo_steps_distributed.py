"""Training steps on photos in two processes: losses and gradients are those of one process with the whole batch."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from tiny_batches import make_batch
from tiny_photo_models import make_classifier, make_heatmap_model
from torch import Tensor, multiprocessing, nn
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


def _work(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.save(run(slice(2 * rank, 2 * rank + 2)), f"{folder}/{rank}.pt")
    distributed.stop()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    """What each of two gloo processes with half the batch found."""
    folder: Path = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(_work, (port, str(folder)), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


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
