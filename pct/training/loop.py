"""The training loop of every stage: one readable loop with resume, logs and checkpoints."""

from __future__ import annotations

import math
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pct import distributed
from pct.checkpoint import explain
from pct.tokenizer.quantizer import Quantizer
from pct.training.run_config import OptimSection, TrainingRun
from pct.training.run_files import CHECKPOINT, MODEL_FOLDER, MetricsLog, load_checkpoint, save_checkpoint


class Batches(Protocol):
    """Batches by step: the same step always gives the same batch."""

    steps_per_epoch: int
    batch_size: int

    def __getitem__(self, step: int) -> Any: ...


def learning_rate(step: int, steps: int, config: OptimSection) -> float:
    """Return the learning rate of ``step``: linear warm-up, then a cosine to ``min_lr_ratio`` of the peak, or steps."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.decay_every:
        return config.lr * warm * config.decay ** (step // config.decay_every)
    cosine = 0.5 * (1 + math.cos(math.pi * step / max(1, steps)))
    return config.lr * warm * (config.min_lr_ratio + (1 - config.min_lr_ratio) * cosine)


def build_optimizer(
    model: nn.Module, config: OptimSection, lr_scales: Mapping[str, float] | None = None
) -> torch.optim.AdamW:
    """AdamW; weight decay on matrices only, not on biases, norms and mask vectors.

    Args:
        model: Its parameters that require a gradient are trained.
        config: Settings.
        lr_scales: Factors of the learning rate by parameter name; 1 where it has none.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = config.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault(((lr_scales or {}).get(name, 1.0), decay), []).append(parameter)
    settings = [
        {"params": params, "lr_scale": scale, "weight_decay": decay}
        for (scale, decay), params in sorted(groups.items(), key=lambda item: item[0], reverse=True)
    ]
    return torch.optim.AdamW(settings, lr=config.lr, betas=config.betas)


def start_run(run: TrainingRun) -> torch.device:
    """Set the number of threads, join the other processes if there are any, and return the run's device."""
    if run.threads:
        torch.set_num_threads(run.threads)
    return distributed.start(run.device)


def save_trained(model: Any, folder: Path) -> None:
    """Save a trained model under ``folder/model``, from the main process."""
    if distributed.is_main():
        model.save_pretrained(folder / MODEL_FOLDER, force=True)


def train(
    model: nn.Module,
    batches: Batches,
    step_losses: Callable[[nn.Module, Any], dict[str, Tensor]],
    run: TrainingRun,
    folder: Path,
    validate: Callable[[], dict[str, float]] | None = None,
    progress: Callable[[Iterable[int], int], Any] | None = None,
    lr_scales: Mapping[str, float] | None = None,
) -> None:
    """Train ``model`` in place, from the folder's checkpoint if there is one; it ends in evaluation mode.

    Args:
        model: On its device; all processes hold the same weights.
        batches: This process's part of each step's batch.
        step_losses: Runs the model on a batch; of all losses by name it is ``loss`` that is minimised.
        run: Lengths and intervals, optimiser and schedule.
        folder: Where checkpoint and logs go; must exist.
        validate: Numbers to log beside the losses; called in evaluation mode on the main process.
        progress: Wraps the range of steps in a bar; gets the range and the first step.
        lr_scales: Factors of the learning rate by parameter name.

    Raises:
        FloatingPointError: If the loss is no longer finite.
        CheckpointError: If the folder's checkpoint is broken or of another model.
        ValueError: If it has more steps than ``run``.
        TrainingStopped: After Ctrl-C or SIGTERM; a checkpoint is written.
    """
    device, is_main = next(model.parameters()).device, distributed.is_main()
    optimizer = build_optimizer(model, run.optim, lr_scales)
    window = _Window(model, optimizer, batches, folder)
    start = window.resume(run.steps)
    wrapped = _wrap(model) if distributed.is_distributed() else model
    steps: Any = range(start, run.steps)
    bar = progress(steps, start) if progress and is_main else None
    model.train()
    with closing(MetricsLog(folder, start)) if is_main else nullcontext() as log, stop_on_signal() as stop:
        for step in bar if bar is not None else steps:
            rate = learning_rate(step, run.steps, run.optim)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["lr_scale"]
            torch.manual_seed((run.seed * 1_000_003 + step) * distributed.world_size() + distributed.rank())
            with torch.autocast(device.type, torch.bfloat16, enabled=run.precision == "bf16"):
                losses = step_losses(wrapped, batches[step].to(device))
            optimizer.zero_grad()
            losses["loss"].backward()
            if run.optim.clip:
                nn.utils.clip_grad_norm_(model.parameters(), run.optim.clip)
            optimizer.step()
            done = step + 1
            window.add(losses, done)
            last, asked = done == run.steps, stop()
            validating = last or _every(run.val_every, done)
            if validating or _every(run.log_every, done):
                values = {"epoch": done / batches.steps_per_epoch, "lr": rate, **window.close(done)}
                if validating and validate is not None and is_main:
                    values |= _validate(model, validate)
                window.restart_clock()
                if log:
                    log.write(done, values)
                if bar is not None:
                    bar.set_postfix({k: f"{values[k]:.4g}" for k in ("loss", "usage", "perplexity") if k in values})
            if last or asked or _every(run.checkpoint_every, done):
                window.save(done)
            if asked and not last:
                raise TrainingStopped(done, asked)
    distributed.barrier()
    model.eval()


def _wrap(model: nn.Module) -> nn.Module:
    # Buffers are alike on all processes, except for counts of a process's own share, which must stay its own: the
    # successor of `broadcast_buffers` that torch 2.13 warns of would overwrite those.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, message=".*broadcast_buffers")
        return DistributedDataParallel(model, broadcast_buffers=False)


def _validate(model: nn.Module, validate: Callable[[], dict[str, float]]) -> dict[str, float]:
    model.eval()
    values = {f"val_{name}": value for name, value in validate().items()}
    model.train()
    return values


def _every(interval: int, done: int) -> bool:
    return interval > 0 and done % interval == 0


class _Window:
    """Losses and speed between two log lines, codebook use in the last whole epoch, and the checkpoints of it all."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, batches: Batches, folder: Path) -> None:
        self.model, self.optimizer, self.batches, self.folder = model, optimizer, batches, folder
        self.quantizers = [m for m in model.modules() if isinstance(m, Quantizer)]
        self.sums: dict[str, Tensor] = {}
        self.use: dict[str, float] = {}
        self.count = 0
        self.restart_clock()

    def add(self, losses: Mapping[str, Tensor], done: int) -> None:
        """Take in the losses of a step, without waiting for the device; at the end of an epoch the codebook's use."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()
        self.count += 1
        self.timed += 1
        if done % self.batches.steps_per_epoch == 0:
            for quantizer in self.quantizers:
                use = quantizer.pop_epoch_use()
                if use.usage > 0:  # the codebook of a frozen tokenizer counts nothing
                    self.use = {"usage": use.usage, "perplexity": use.perplexity}

    def close(self, done: int) -> dict[str, float]:
        """Return the means over all processes since the last call."""
        share = 1 / (self.count * distributed.world_size())
        values = {name: float(distributed.all_reduce_sum(total) * share) for name, total in self.sums.items()}
        _check_finite(values, done)
        values["poses_per_second"] = self.timed * self.batches.batch_size / (time.perf_counter() - self.started)
        self.sums, self.count = {}, 0
        return values | self.use

    def restart_clock(self) -> None:
        """Leave what was done until now out of the speed."""
        self.timed, self.started = 0, time.perf_counter()

    def save(self, done: int) -> None:
        """Write a checkpoint, with what the next log line needs summed over all processes, which must all call this."""
        sums = {name: distributed.all_reduce_sum(total).cpu() for name, total in self.sums.items()}
        # Else the last good checkpoint would be replaced by one that nothing can be done with.
        _check_finite({name: float(total) for name, total in sums.items()}, done)
        counts = [distributed.all_reduce_sum(q.epoch_counts).cpu() for q in self.quantizers]
        window = {"sums": sums, "counts": counts, "count": self.count, "use": self.use}
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "window": window}
        if distributed.is_main():
            save_checkpoint(self.folder, {**state, "step": done})

    def resume(self, steps: int) -> int:
        """Go on from the folder's checkpoint, if any, and return its step; the sums are taken by the main process."""
        state = load_checkpoint(self.folder)
        if state is None:
            return 0
        device, share = next(self.model.parameters()).device, int(distributed.is_main())
        with explain(self.folder / CHECKPOINT):
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            window, start = state["window"], int(state["step"])
            self.sums = {name: total.to(device) * share for name, total in window["sums"].items()}
            self.count, self.use = window["count"], window["use"]
            for quantizer, counts in zip(self.quantizers, window["counts"], strict=True):
                quantizer.epoch_counts.copy_(counts * share)
        if start > steps:
            raise ValueError(f"{self.folder} already holds {start} steps; steps must be at least that, got {steps}")
        return start


def _check_finite(values: dict[str, float], done: int) -> None:
    if not all(math.isfinite(value) for value in values.values()):
        raise FloatingPointError(f"the loss is not finite at step {done}: {values}; lower optim.lr or use fp32")


class TrainingStopped(KeyboardInterrupt):
    """A run was asked to end and has written a checkpoint.

    Attributes:
        step: Optimiser steps done.
        signal_number: What it was asked with.
    """

    def __init__(self, step: int, signal_number: int) -> None:
        super().__init__(f"stopped after step {step}, which is saved")
        self.step, self.signal_number = step, signal_number


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], int]]:
    """Note SIGINT and SIGTERM instead of ending at once, and give a function that returns which, 0 if none.

    A second signal ends at once. Only a single process does so, in its main thread: of several, each would stop at
    another step and wait for the others for ever, so those end at once and go on from their last checkpoint.
    """
    seen = [0]
    if distributed.is_distributed() or threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(handlers: Mapping[int, Any]) -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def note(number: int, _frame: FrameType | None) -> None:
        seen.append(number)
        handle(before)

    handle(dict.fromkeys(before, note))
    try:
        yield lambda: seen[-1]
    finally:
        handle(before)
