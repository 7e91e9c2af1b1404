"""The training loop: it learns, logs what happened, and a run that was cut goes on as if it had not been."""

from __future__ import annotations

import math
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import CrashError, losses
from torch import Tensor, nn

from pct.checkpoint import CheckpointError
from pct.people.poses import generate_poses
from pct.poses import Poses
from pct.skeleton import COCO17
from pct.tokenizer import PoseTokenizer, TokenizerConfig
from pct.tokenizer.codebook import CodebookUse
from pct.training.batches import DrawnBatches
from pct.training.loop import TrainingStopped, build_optimizer, learning_rate, train
from pct.training.run_config import OptimSection, TrainingRun
from pct.training.run_files import CHECKPOINT, METRICS, load_checkpoint, read_metrics
from pct.training.tokenizer.augment import AugmentConfig, AugmentedPoses, PoseAugment, pose_batches
from pct.training.tokenizer.config import LossSection
from pct.training.tokenizer.recipe import TokenizerStep

TINY = TokenizerConfig(
    num_tokens=4, codebook_size=16, codebook_dim=8, encoder_width=16, encoder_blocks=1, decoder_width=8
)
RESIDUAL = replace(TINY, layout="residual")
Whole = Callable[..., Path]
# Logs, checkpoints, validations and epochs (3 steps) all fall on different steps.
OPTIM = OptimSection(warmup_steps=4)
SETTINGS = TrainingRun(steps=20, log_every=5, val_every=7, checkpoint_every=4, optim=OPTIM)


class CrashingBatches:
    """Batches that do something before one step."""

    def __init__(self, batches: DrawnBatches, step: int, act: Callable[[], None]) -> None:
        self.batches, self.step, self.act = batches, step, act
        self.steps_per_epoch, self.batch_size = batches.steps_per_epoch, batches.batch_size

    def __getitem__(self, step: int) -> AugmentedPoses:
        if step == self.step:
            self.act()
        return self.batches[step]


def crash() -> None:
    raise CrashError


def make_model(config: TokenizerConfig = TINY) -> PoseTokenizer:
    torch.manual_seed(0)
    return PoseTokenizer(config)


@cache
def make_poses() -> Poses:
    return generate_poses(40, COCO17, seed=3)


def make_batches(n: int = 26, batch_size: int = 8, augment: AugmentConfig | None = None) -> DrawnBatches:
    table = make_poses().select(torch.arange(n))
    crop = PoseAugment(COCO17, TINY.space, augment or AugmentConfig())
    return pose_batches(TINY.space.normalise(table.keypoints, table.bbox), table.visible, crop, batch_size)


def validation(model: PoseTokenizer) -> Callable[[], dict[str, float]]:
    batch = make_batches(40)[100]

    @torch.no_grad()
    def validate() -> dict[str, float]:
        assert not model.training
        return {"error": float((model(batch.keypoints, batch.visible).keypoints - batch.keypoints).abs().mean())}

    return validate


def run(
    folder: Path,
    config: TokenizerConfig = TINY,
    settings: TrainingRun = SETTINGS,
    act_at: int = -1,
    act: Callable[[], None] = crash,
    validated: bool = True,
    step_losses: Any = None,
) -> PoseTokenizer:
    """Start a run in a folder, or go on with it, as a new process would."""
    folder.mkdir(exist_ok=True)
    model = make_model(config)
    batches = CrashingBatches(make_batches(), act_at, act)
    validate = validation(model) if validated else None
    train(model, batches, step_losses or TokenizerStep(LossSection()), settings, folder, validate)
    return model


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Folders of runs that nothing cut."""

    @cache
    def make(config: TokenizerConfig = TINY) -> Path:
        folder = tmp_path_factory.mktemp("whole")
        run(folder, config)
        return folder

    return make


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """All tensors and numbers of a nested state by their path."""
    if isinstance(value, dict):
        return {k: v for name in value for k, v in flat(value[name], f"{prefix}/{name}").items()}
    if isinstance(value, (list, tuple)):
        return {k: v for i, item in enumerate(value) for k, v in flat(item, f"{prefix}/{i}").items()}
    return {prefix: value}


def assert_same_state(first: Any, second: Any) -> None:
    first, second = flat(first), flat(second)
    assert set(first) == set(second)
    for name, value in first.items():
        same = torch.equal(value, second[name]) if isinstance(value, Tensor) else value == second[name]
        assert same, f"{name} differs"


def assert_same_run(folder: Path, other: Path) -> None:
    assert losses(folder) == losses(other)
    assert_same_state(load_checkpoint(folder), load_checkpoint(other))


def test_a_tiny_tokenizer_overfits_eight_poses(tmp_path: Path) -> None:
    plain = AugmentConfig(plain_share=1, flip_prob=0, mask_share=0, outside_margin=10)
    model = make_model(replace(TINY, codebook_size=32, encoder_width=32, decoder_width=16))
    batches = make_batches(8, 8, plain)
    settings = TrainingRun(200, 100, optim=OptimSection(lr=2e-2, warmup_steps=20, weight_decay=0.0))
    train(model, batches, TokenizerStep(LossSection()), settings, tmp_path)
    batch, known = batches[0], batches[0].visible
    with torch.no_grad():
        decoded = model.eval()(batch.keypoints, known).keypoints
    mean = (batch.keypoints * known[..., None]).sum(dim=0) / known.sum(dim=0).clamp(min=1)[:, None]
    error, error_of_mean = ((x - batch.keypoints).norm(dim=-1)[known].mean() for x in (decoded, mean))
    assert error < 0.25 * error_of_mean


@pytest.mark.parametrize("config", [TINY, RESIDUAL], ids=["parallel", "residual"])
@pytest.mark.parametrize("steps", [(2,), (6,), (12,), (18,), (3, 5, 9, 9, 13, 19)])
def test_resumed_is_uninterrupted_bit_for_bit(
    tmp_path: Path, whole: Whole, config: TokenizerConfig, steps: tuple[int, ...]
) -> None:
    """Cut before the first checkpoint, inside log windows, at epoch ends and between validations, and many times."""
    for step in steps:
        with pytest.raises(CrashError):
            run(tmp_path, config, act_at=step)
    resumed = run(tmp_path, config)
    assert_same_state(resumed.state_dict(), load_checkpoint(whole(config))["model"])
    assert_same_run(tmp_path, whole(config))


def test_a_finished_run_has_nothing_to_do_and_can_be_made_longer_but_not_shorter(tmp_path: Path) -> None:
    first, log = run(tmp_path), tmp_path / METRICS
    lines = log.read_text()
    assert_same_state(run(tmp_path, act_at=0).state_dict(), first.state_dict())
    assert log.read_text() == lines
    run(tmp_path, settings=replace(SETTINGS, steps=25))
    assert losses(tmp_path)[-1]["step"] == 25
    with pytest.raises(ValueError, match=r"already holds 25 steps; steps must be at least that, got 20"):
        run(tmp_path)


def test_lines_of_lost_steps_and_a_cut_off_line_are_dropped(tmp_path: Path, whole: Whole) -> None:
    with pytest.raises(CrashError):
        run(tmp_path, act_at=15)  # the last checkpoint is of step 12, and step 15 is logged
    path = tmp_path / METRICS
    assert [row["step"] for row in read_metrics(path)] == [5, 7, 10, 14, 15]
    with path.open("a") as file:
        file.write('{"step": 20, "loss": 0.')
    assert len(read_metrics(path)) == 5
    run(tmp_path)
    assert_same_run(tmp_path, whole())


def test_a_broken_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / METRICS
    path.write_text('{"step": 1}\n{"step": \n{"step": 3}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2: not JSON"):
        read_metrics(path)


def test_log_lines_hold_the_means_since_the_last_line_and_the_use_of_the_last_whole_epoch(tmp_path: Path) -> None:
    step_losses, seen, tokens = TokenizerStep(LossSection(commitment_weight=2.0)), [], []

    def recorded(model: nn.Module, batch: AugmentedPoses) -> dict[str, Tensor]:
        handle = model.register_forward_hook(lambda _module, _args, output: tokens.append(output.indices))
        losses = step_losses(model, batch)
        handle.remove()
        seen.append({name: value.item() for name, value in losses.items()})
        return losses

    run(tmp_path / "run", step_losses=recorded)
    rows, first = losses(tmp_path / "run"), 0
    assert [row["step"] for row in rows] == [5, 7, 10, 14, 15, 20]
    for row in rows:
        step = int(row["step"])
        window, epoch = seen[first:step], tokens[step // 3 * 3 - 3 : step // 3 * 3]
        for name in ("loss", "keypoint_loss", "commitment_loss"):
            assert row[name] == pytest.approx(sum(s[name] for s in window) / len(window), rel=1e-5)
        assert row["loss"] == pytest.approx(row["keypoint_loss"] + 2 * row["commitment_loss"], rel=1e-5)
        assert row["epoch"] == step / 3
        assert row["lr"] == learning_rate(step - 1, 20, OPTIM)
        assert ("val_error" in row) == (step in (7, 14, 20))
        use = CodebookUse.from_counts(torch.bincount(torch.cat(epoch).flatten(), minlength=16))
        assert (row["usage"], row["perplexity"]) == (use.usage, use.perplexity)
        first = step


def test_validation_changes_nothing(tmp_path: Path) -> None:
    often = replace(SETTINGS, val_every=5)
    first = run(tmp_path / "with", settings=often)
    second = run(tmp_path / "without", settings=often, validated=False)
    assert not first.training  # it ends in evaluation mode
    assert_same_state(first.state_dict(), second.state_dict())
    without = [{k: v for k, v in row.items() if k != "val_error"} for row in losses(tmp_path / "with")]
    assert without == losses(tmp_path / "without")


def test_a_diverged_run_ends_and_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    optim = OptimSection(lr=1e25, clip=0, warmup_steps=30)
    settings = TrainingRun(steps=40, log_every=40, checkpoint_every=3, optim=optim)
    with pytest.raises(FloatingPointError, match=r"loss is not finite at step \d+: .*lower optim\.lr"):
        run(tmp_path / "run", settings=settings)
    state = load_checkpoint(tmp_path / "run")
    if state is not None:
        assert all(torch.isfinite(value).all() for value in state["window"]["sums"].values())


def test_bf16_trains_and_the_quantizer_stays_in_float32(tmp_path: Path, whole: Whole) -> None:
    seen = []

    def recorded(model: nn.Module, batch: AugmentedPoses) -> dict[str, Tensor]:
        handles = [
            module.register_forward_hook(lambda _module, _args, output, name=name: seen.append((name, output)))
            for name, module in model.named_modules()
            if name in ("quantizer", "encoder.to_features")
        ]
        losses = TokenizerStep(LossSection())(model, batch)
        for handle in handles:
            handle.remove()
        return losses

    model = run(tmp_path, settings=replace(SETTINGS, precision="bf16"), step_losses=recorded)
    assert {output.dtype for name, output in seen if name != "quantizer"} == {torch.bfloat16}
    assert {output.z_q.dtype for name, output in seen if name == "quantizer"} == {torch.float32}
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32, torch.int64}
    bf16, fp32 = losses(tmp_path), losses(whole())
    assert bf16 != fp32
    assert bf16[0]["loss"] == pytest.approx(fp32[0]["loss"], rel=0.02)


def test_learning_rate_falls_by_steps_where_asked() -> None:
    config = OptimSection(lr=2.0, warmup_steps=2, decay_every=10, decay=0.5)
    rates = [learning_rate(step, 1000, config) for step in (0, 1, 9, 10, 19, 20)]
    assert rates == [1.0, 2.0, 2.0, 1.0, 1.0, 0.5]


def test_learning_rate_warms_up_and_falls_as_a_cosine() -> None:
    config = OptimSection(lr=2.0, warmup_steps=10, min_lr_ratio=0.1)
    rates = [learning_rate(step, 1000, config) for step in range(1001)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[4] == pytest.approx(1.0, rel=1e-3)
    assert max(rates) == pytest.approx(2.0, rel=1e-3)
    assert rates[500] == pytest.approx(2.0 * (0.1 + 0.9 / 2))
    assert rates[1000] == pytest.approx(0.2)
    assert all(after < before for before, after in pairwise(rates[9:]))
    assert math.isfinite(learning_rate(0, 1, OptimSection(warmup_steps=0)))


def test_weight_decay_is_on_matrices_only() -> None:
    model = make_model()
    optimizer = build_optimizer(model, OptimSection(weight_decay=0.3))
    decayed, kept = (group["params"] for group in optimizer.param_groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]
    assert all(p.ndim == 2 for p in decayed)
    assert any(p is model.embedding.mask_token for p in kept)
    assert len({id(p) for p in (*decayed, *kept)}) == len(list(model.parameters())) == len(decayed) + len(kept)


def test_progress_gets_the_steps_and_where_they_start(tmp_path: Path) -> None:
    with pytest.raises(CrashError):
        run(tmp_path / "run", act_at=10)
    seen, shown = [], []

    class Bar(list):
        def set_postfix(self, values: dict[str, str]) -> None:
            shown.append(values)

    def progress(steps: Any, start: int) -> Bar:
        seen.append((list(steps), start))
        return Bar(steps)

    model = make_model()
    train(model, make_batches(), TokenizerStep(LossSection()), SETTINGS, tmp_path / "run", None, progress)
    assert seen == [(list(range(8, 20)), 8)]
    assert set(shown[-1]) == {"loss", "usage", "perplexity"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_saves_a_checkpoint_and_the_run_goes_on_as_one(tmp_path: Path, whole: Whole, number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(TrainingStopped, match=r"stopped after step 7, which is saved") as stop:
        run(tmp_path, act_at=6, act=lambda: os.kill(os.getpid(), number))
    assert (stop.value.step, stop.value.signal_number) == (7, number)
    assert signal.getsignal(number) == before
    assert load_checkpoint(tmp_path)["step"] == 7
    run(tmp_path)
    assert_same_run(tmp_path, whole())


@pytest.fixture
def heard_interrupts() -> Iterator[None]:
    """A shell's background job starts with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_stop_signal_ends_at_once(tmp_path: Path, heard_interrupts: None) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as stop:
        run(tmp_path / "run", act_at=2, act=twice)
    assert not isinstance(stop.value, TrainingStopped)
    assert load_checkpoint(tmp_path / "run") is None


def test_a_stop_signal_in_the_last_step_ends_the_run_well(tmp_path: Path) -> None:
    run(tmp_path / "run", act_at=19, act=lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert load_checkpoint(tmp_path / "run")["step"] == 20


def test_a_full_disk_is_named_and_leaves_the_checkpoint_before(
    tmp_path: Path, whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    def fill() -> None:
        monkeypatch.setattr(Path, "write_bytes", full)

    with pytest.raises(OSError, match=r"checkpoint\.pt: step 12 could not be saved: .*No space left.*--resume"):
        run(tmp_path, act_at=9, act=fill)
    monkeypatch.undo()
    assert load_checkpoint(tmp_path)["step"] == 8
    assert not list((tmp_path).glob(".*tmp"))
    run(tmp_path)
    assert_same_run(tmp_path, whole())


def test_broken_checkpoints_are_refused_with_a_sentence(tmp_path: Path) -> None:
    run(tmp_path)
    path = tmp_path / CHECKPOINT
    whole = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(len(whole), (20,), generator=generator).tolist()
    junk = [whole[:n] for n in (0, 1, *lengths)] + [b"\x80" * 100, b"{}", b"PK\x03\x04" + whole[100:]]
    for data in junk:
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"checkpoint\.pt: .*not a checkpoint of pct; remove it") as error:
            run(tmp_path)
        assert "\n" not in str(error.value)
        assert "weights_only" not in str(error.value)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("owned",))


def test_pickled_objects_are_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Evil()}, "zipped.pt")
    for data in (Path("zipped.pt").read_bytes(), pickle.dumps(Evil())):
        Path(CHECKPOINT).write_bytes(data)
        with pytest.raises(CheckpointError, match=r"checkpoint\.pt"):
            load_checkpoint(tmp_path)
    assert not (tmp_path / "owned").exists()


def test_checkpoints_of_other_things_are_refused(tmp_path: Path) -> None:
    run(tmp_path)
    for config, words in ((replace(TINY, encoder_width=24), ": config and weights do not make this"), (RESIDUAL, "")):
        with pytest.raises(CheckpointError, match=rf"checkpoint\.pt{words}"):
            run(tmp_path, config)
    torch.save({"weights": torch.ones(3)}, tmp_path / CHECKPOINT)
    with pytest.raises(CheckpointError, match="not a training checkpoint of pct"):
        run(tmp_path)


def test_every_step_draws_numbers_of_its_own_and_a_resumed_run_draws_the_same(tmp_path: Path) -> None:
    """What a model draws by chance, such as stochastic depth, differs from step to step."""

    class Noting(TokenizerStep):
        def __init__(self) -> None:
            super().__init__(LossSection())
            self.drawn: list[float] = []

        def __call__(self, model: nn.Module, batch: AugmentedPoses) -> dict[str, Tensor]:
            self.drawn.append(float(torch.rand(())))
            return super().__call__(model, batch)

    whole, rest = Noting(), Noting()
    run(tmp_path / "whole", step_losses=whole)
    assert len(set(whole.drawn)) == SETTINGS.steps
    with pytest.raises(CrashError):
        run(tmp_path / "halves", act_at=8)
    run(tmp_path / "halves", step_losses=rest)
    assert rest.drawn == whole.drawn[8:]
