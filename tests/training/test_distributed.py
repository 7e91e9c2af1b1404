"""Processes of a run: no-ops in one process, true sums, quantizers and photo steps in two, and a device for each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from tiny_batches import make_batch
from tiny_photo_models import make_classifier, make_heatmap_model
from tiny_runs import in_two_processes
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pct import PoseSpace, distributed
from pct.skeleton import Skeleton
from pct.tokenizer import TokenizerConfig
from pct.tokenizer.quantizer import EMAQuantizer, FSQQuantizer, Quantizer
from pct.tokenizer.residual import ResidualQuantizer
from pct.training.photos.config import TokenLoss
from pct.training.photos.crops import PhotoBatch
from pct.training.photos.steps import HeatmapStep, TokenStep

CONFIG = TokenizerConfig(num_tokens=4, codebook_size=24, codebook_dim=3, ema_decay=0.8, revive_below=0.3)
POINTS = Skeleton("points", ("a", "b", "c", "d"), (), (), (0.1,) * 4)
RESIDUAL = {"layout": "residual", "skeleton": POINTS, "space": PoseSpace("root3d"), "num_tokens": 3}
QUANTIZERS = {
    "ema": lambda: EMAQuantizer(CONFIG),
    "published": lambda: EMAQuantizer(replace(CONFIG, ema_rule="published")),
    "residual": lambda: ResidualQuantizer(replace(CONFIG, **RESIDUAL, codebook_size=6)),
    "fsq": lambda: FSQQuantizer(replace(CONFIG, quantizer="fsq", levels=(2, 3, 4))),
}


def features(step: int) -> torch.Tensor:
    """Features (96, 4, 3) whose clusters move, so that entries die and are revived."""
    x = torch.randn(96, 4, 3, generator=torch.Generator().manual_seed(step))
    return 0.3 * x + 2 * torch.tensor([step % 3, -step % 5, 1.0])


def quantize(make: Any, rows: slice) -> tuple[Quantizer, list[Any]]:
    """Run a quantizer over 8 steps of this process's rows; return it and what the loop logs of it."""
    quantizer, log = make(), []
    for step in range(8):
        z = features(step)[rows]
        output = quantizer(z)
        loss = distributed.all_reduce_sum(output.commitment_loss) / distributed.world_size()
        log.append(float(loss))
    use = quantizer.pop_epoch_use()
    return quantizer, [*log, use.usage, use.perplexity]


def uneven_batch() -> PhotoBatch:
    """Persons whose labelled joints lie mostly in the first half of the batch; one of the second half has none."""
    batch = make_batch()
    visibility = batch.visibility.clone()
    visibility[:2] = 2
    visibility[2, 3:] = 0
    visibility[3] = 0
    return replace(batch, visibility=visibility)


def tokens() -> tuple[nn.Module, TokenStep]:
    model = make_classifier()
    return model, TokenStep(model.tokenizer, TokenLoss())


def heatmaps() -> tuple[nn.Module, HeatmapStep]:
    """In evaluation mode, as all: batch norms would see each process's own persons."""
    model = make_heatmap_model()
    return model, HeatmapStep(model, sigma=1.0)


def take_step(make: Any, rows: slice) -> dict[str, Tensor]:
    """Return losses and gradients of the rows of this process, averaged over all processes as in training."""
    model, step = make()
    shared = DistributedDataParallel(model) if distributed.is_distributed() else model
    losses = step(shared, uneven_batch().rows(rows))
    losses["loss"].backward()
    result = {f"grad {n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
    means = {n: distributed.all_reduce_sum(v.detach()) / distributed.world_size() for n, v in losses.items()}
    return {**result, **means}


def _work(rank: int) -> dict[str, Any]:
    mine = torch.tensor([rank + 1.0, 10.0])
    result: dict[str, Any] = {
        "sum": distributed.all_reduce_sum(mine),
        "mine": mine,
        "place": (distributed.rank(), distributed.world_size(), distributed.is_main(), distributed.is_distributed()),
    }
    for make in (tokens, heatmaps):
        result[make.__name__] = take_step(make, slice(2 * rank, 2 * rank + 2))
    for name, make in QUANTIZERS.items():
        quantizer, log = quantize(make, slice(48 * rank, 48 * rank + 48))
        result[name] = (dict(quantizer.state_dict()), log)
    return result


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two gloo processes found."""
    return in_two_processes(_work, tmp_path_factory.mktemp("two"))


def test_one_process_is_left_alone() -> None:
    tensor = torch.ones(3)
    assert distributed.all_reduce_sum(tensor) is tensor
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
    assert not distributed.is_distributed()
    distributed.barrier()
    distributed.stop()


def test_two_processes_share_sums(two: list[dict[str, Any]]) -> None:
    for rank, result in enumerate(two):
        assert result["place"] == (rank, 2, rank == 0, True)
        assert result["sum"].tolist() == [3.0, 20.0]
        assert result["mine"].tolist() == [rank + 1.0, 10.0], "the argument is left as it is"


@pytest.mark.parametrize("name", QUANTIZERS)
def test_two_processes_with_half_the_batch_quantize_as_one(two: list[dict[str, Any]], name: str) -> None:
    quantizer, log = quantize(QUANTIZERS[name], slice(None))
    for result in two:
        state, log_of_two = result[name]
        assert set(state) == set(quantizer.state_dict())
        for key, value in quantizer.state_dict().items():
            torch.testing.assert_close(state[key], value, rtol=1e-5, atol=1e-5, msg=lambda m, key=key: f"{key}: {m}")
        assert log_of_two == pytest.approx(log, rel=1e-5)


@pytest.mark.parametrize("make", [tokens, heatmaps])
def test_two_processes_with_half_the_batch_step_as_one(two: list[dict[str, Any]], make: Any) -> None:
    one = take_step(make, slice(0, 4))
    assert sum(key.startswith("grad") for key in one) > 20
    for result in two:
        of_two = result[make.__name__]
        assert of_two.keys() == one.keys()
        for key, value in one.items():
            torch.testing.assert_close(of_two[key], value, rtol=1e-4, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}")


def test_the_mean_over_all_is_the_plain_mean_in_one_process_and_0_without_items() -> None:
    values, counted = torch.tensor([1.0, 4.0, 7.0]), torch.tensor([True, False, True])
    assert distributed.mean_over_all(values, counted) == 4.0
    assert distributed.mean_over_all(values, torch.zeros(3, dtype=torch.bool)) == 0.0


def test_entries_were_revived_where_two_processes_are_compared() -> None:
    """Else the comparison above would not cover the revival."""
    revived, kept = quantize(QUANTIZERS["ema"], slice(None))[0], EMAQuantizer(replace(CONFIG, revive_below=0.0))
    for step in range(8):
        kept(features(step))
    assert not torch.allclose(revived.codebook.entries, kept.codebook.entries)


def test_auto_takes_the_cpu_where_there_is_no_cuda_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert distributed.start("auto") == torch.device("cpu")
    assert distributed.start("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="device is 'cuda', but this machine has 0 CUDA devices"):
        distributed.start("cuda")


def test_each_local_process_takes_its_cuda_device_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.cuda.set_device refuses a device without one."""
    chosen: list[torch.device] = []
    backends: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(dist, "init_process_group", lambda backend: backends.append(backend))
    for name, number in (("auto", 0), ("cuda", 0), ("cuda:1", 1)):
        assert distributed.start(name) == torch.device("cuda", number)
    assert [device.index for device in chosen] == [0, 0, 1]
    with pytest.raises(ValueError, match="'cuda:4', but this machine has 4 CUDA devices, none of number 4"):
        distributed.start("cuda:4")
    assert not backends
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert distributed.start("auto") == torch.device("cuda", 3)
    assert distributed.start("cpu") == torch.device("cpu")
    assert backends == ["nccl", "gloo"]


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "mps", "cpu:0", ""])
def test_unknown_devices_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"allowed are auto, cpu, cuda and cuda:N"):
        distributed.start(name)
