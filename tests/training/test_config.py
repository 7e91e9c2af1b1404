"""Configs of training runs: every mistake is named with its key and source, and a dumped run loads as itself."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pct.pose_space import PoseSpace
from pct.tokenizer import TokenizerSizes
from pct.training.kinds import load_run
from pct.training.lifting.config import LifterLoss
from pct.training.run_config import OptimSection, dump_config
from pct.training.tokenizer.augment import AugmentConfig
from pct.training.tokenizer.config import LossSection, PoseData, TokenizerRun

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


def load(folder: Path, text: str, *overrides: str) -> TokenizerRun:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return load_run("tokenizer", path, list(overrides))


def test_empty_config_is_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, "") == TokenizerRun()


def test_overrides_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    run = load(
        tmp_path,
        "steps: 7\nseed: 3\noptim: {lr: 0.5}\n",
        "steps=9",
        "augment.mask_ratio=[0.1,0.3]",
        "out=a=b",
        "loss.beta=1",
        "optim.clip=1e-3",
    )
    assert (run.steps, run.seed, run.optim.lr, run.batch_size) == (9, 3, 0.5, TokenizerRun().batch_size)
    assert (run.optim.clip, run.loss.beta, type(run.loss.beta)) == (0.001, 1, float)
    assert run.augment == AugmentConfig(mask_ratio=(0.1, 0.3))
    assert run.out == "a=b"


@pytest.mark.parametrize(
    ("text", "override", "message"),
    [
        ("stepz: 3", "", r"run\.yaml: unknown key stepz; did you mean steps\?"),
        ("model: {encoder_widht: 3}", "", r"unknown key model\.encoder_widht; did you mean model\.encoder_width\?"),
        ("lr: 3", "", r"unknown key lr; did you mean optim\.lr\?"),
        ("optim: {learning_rate: 1}", "", r"unknown key optim\.learning_rate; known are lr, weight_decay"),
        ("", "steps", r"override 'steps' must be key=value"),
        ("", "optim.lr=fast", r"command line: optim\.lr is 'fast'; it must be float"),
        ("steps: many", "", r"run\.yaml: steps is 'many'; it must be int"),
        ("steps: 1.5", "", r"steps is 1\.5; it must be int"),
        ("steps: yes", "", r"steps is True; it must be int"),
        ("steps:", "", r"steps is None; it must be int"),
        ("steps: ${nothing}", "", r"run\.yaml: .*'nothing' not found"),
        ("augment: {mask_ratio: [0.2]}", "", r"augment\.mask_ratio is \[0\.2\]; it must be tuple\[float, float\]"),
        ("augment: {mask_ratio: [a, b]}", "", r"augment\.mask_ratio is \['a', 'b'\]"),
        ("augment: {mask_ratio: [0.4, 0.2]}", "", r"run\.yaml: augment mask_ratio .* low <= high"),
        ("augment: {scale: 1.0}", "", r"run\.yaml: augment scale must be in \[0, 1\)"),
        ("model: {layout: whole}", "", r"model\.layout is 'whole'"),
        ("precision: fp16", "", r"precision is 'fp16'; it must be one of \['fp32', 'bf16'\]"),
        ("model: {quantizer: fsq}", "", r"run\.yaml: levels \[\] make a codebook of 1 x 0"),
        ("optim: 3", "", r"optim must be a mapping"),
        ("- a", "", r"the config must be a mapping"),
        ("just text", "", r"run\.yaml: (unknown key|the config|not a valid config)"),
        ("a: [", "", r"run\.yaml: not valid YAML"),
        ("steps: 5\nsteps: 6", "", r"run\.yaml: not a valid config: .*duplicate key steps"),
        ("", "steps=[1", r"command line: steps=\[1: not valid: "),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(tmp_path, text, *filter(None, [override]))


@pytest.mark.parametrize(
    "override",
    [
        *("steps=0", "batch_size=0", "log_every=0", "checkpoint_every=-1", "val_poses=0", "val_every=-1", "threads=-1"),
        *("optim.lr=0", "optim.lr=.nan", "optim.lr=.inf", "optim.betas=[0.9,1]", "optim.clip=-1", "loss.beta=-0.1"),
        *(f"seed={2**63}", f"steps={10**22}"),
        *("data.val_share=0", "data.val_share=1", "data.num_generated=1"),
    ],
)
def test_values_out_of_range_are_named(tmp_path: Path, override: str) -> None:
    with pytest.raises(ValueError, match=rf"run\.yaml: {override.split('=')[0]} is .*; it must be "):
        load(tmp_path, "", override)


def test_missing_and_unreadable_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x81")
    for path, message in (
        (tmp_path / "nowhere.yaml", r"nowhere\.yaml does not exist"),
        (tmp_path, "does not exist"),
        ("cocoo", "no tokenizer config 'cocoo'"),
        (tmp_path / "binary.yaml", r"binary\.yaml: not valid YAML"),
    ):
        with pytest.raises(ValueError, match=message):
            load_run("tokenizer", path, [])


RUNS = st.builds(
    TokenizerRun,
    out=st.text(st.characters(codec="utf-8", exclude_characters="\x7f\x85"), min_size=1, max_size=8).filter(
        lambda s: s.isprintable() and "$" not in s and "?" not in s
    ),
    steps=st.integers(1, 10**9),
    seed=st.integers(0, 10**6),
    precision=st.sampled_from(["fp32", "bf16"]),
    report=st.booleans(),
    data=st.builds(PoseData, train=st.sampled_from(["generated", "a.json", "1", "null", "true"])),
    space=st.builds(PoseSpace, padding=st.floats(0.5, 3), units=st.sampled_from(["unit", "pixels"])),
    model=st.sampled_from(
        [TokenizerSizes(), TokenizerSizes(quantizer="fsq", levels=(4, 8), codebook_size=32, codebook_dim=2)]
    ),
    augment=st.builds(AugmentConfig, rotation=st.floats(0, 90), mask_ratio=st.sampled_from([(0.0, 0.5), (0.2, 0.2)])),
    loss=st.builds(LossSection, beta=st.floats(0, 1)),
    optim=st.builds(OptimSection, lr=st.floats(1e-12, 1.0), betas=st.tuples(st.floats(0, 0.999), st.floats(0, 0.999))),
)


@settings(max_examples=25, deadline=None)
@given(run=RUNS)
@example(run=TokenizerRun(out="1e3"))
@example(run=TokenizerRun(out="null"))
def test_load_inverts_dump(tmp_path_factory: pytest.TempPathFactory, run: TokenizerRun) -> None:
    path = tmp_path_factory.getbasetemp() / "dumped.yaml"
    path.write_text(dump_config(run), encoding="utf-8")
    assert load_run("tokenizer", path, []) == run


def test_dump_names_every_key() -> None:
    """Who reads the config.yaml beside a model sees all of its settings, whatever the defaults become later."""
    dumped = yaml.safe_load(dump_config(TokenizerRun()))
    assert set(dumped) == {f.name for f in fields(TokenizerRun)}
    for name in dumped:
        section = getattr(TokenizerRun(), name)
        if is_dataclass(section):
            assert set(dumped[name]) == {f.name for f in fields(section)}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_config_loads(path: Path) -> None:
    run = load_run(path.stem.split("_")[0], path, [])
    assert run.out == f"runs/{path.stem}", "each config has a folder of its own"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert run != type(run)(out=run.out), f"{path.name} says nothing: {values}"


def test_a_loss_of_a_lifter_that_there_is_not_is_refused_from_python() -> None:
    with pytest.raises(ValueError, match=r"loss\.kind is 'l2'; it must be one of mpjpe, mse, smooth_l1"):
        LifterLoss(kind="l2")  # type: ignore[arg-type]
