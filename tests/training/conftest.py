"""Fixtures of all tests of training runs: tiny configs of each kind, threads as before, no curves unless asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tiny_photo_models import make_coco_tokenizer

from pct.people.scene import GeneratedPersons
from pct.people.write import write_people

_EVERY = "checkpoint_every: 5\ndevice: cpu\nthreads: 1\n"
_PHOTOS = """\
steps: 6
batch_size: 4
log_every: 2
val_every: 3
val_persons: 6
workers: 0
backbone:
  name: swin_pico
  image_size: [32, 32]
  options: {patch_size: 4, embed_dim: 8, depths: [1, 1], num_heads: [1, 2], window_size: 4}
optim: {warmup_steps: 2}
"""
TINY = {
    "tokenizer": """\
steps: 20
batch_size: 16
log_every: 4
val_every: 10
val_poses: 20
report: false
data: {num_generated: 100, val_share: 0.2}
model:
  num_tokens: 4
  codebook_size: 16
  codebook_dim: 8
  encoder_width: 16
  encoder_blocks: 1
  encoder_token_hidden: 8
  decoder_width: 8
  decoder_token_hidden: 8
  revive_below: 0.5
optim: {warmup_steps: 5}
""",
    "lifter": """\
steps: 12
batch_size: 16
log_every: 4
val_every: 6
val_poses: 20
data: {num_generated: 200}
lifter: {network: mixer, width: 16, depth: 1, tokens: {width: 16, num_blocks: 1}}
optim: {warmup_steps: 3}
""",
    "classifier": _PHOTOS + "head: {kind: query, width: 16, num_heads: 2, num_blocks: 1}\n",
    "heatmap": _PHOTOS + "heatmap: {num_deconvs: 1, width: 8}\n",
}


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 photos of generated people to train on, 6 others to validate on, and an untrained tokenizer."""
    folder = tmp_path_factory.mktemp("data")
    write_people(folder / "train", GeneratedPersons(12, 1, image_size=64))
    write_people(folder / "val", GeneratedPersons(6, 2, image_size=64))
    make_coco_tokenizer().save_pretrained(folder / "tokenizer")
    return folder


@pytest.fixture
def write_config(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Path]:
    """Write the tiny config of a kind of runs; ``data`` in place of the photos of people."""

    def write(kind: str, data: str = "") -> Path:
        text = _EVERY + TINY[kind] + data
        if kind in ("classifier", "heatmap"):
            people = request.getfixturevalue("people")
            text += f"tokenizer: {people / 'tokenizer'}\n" + ("" if data else "data:\n")
            for part in () if data else ("train", "val"):
                text += f"  {part}: {people / part / 'annotations.json'}\n  {part}_images: {people / part / 'images'}\n"
        path = tmp_path / f"{kind}.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _without_curves(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Drawing takes most of a tiny run's time."""
    if "drawn_curves" not in request.fixturenames:
        monkeypatch.setattr("pct.drawing.plots.plot_training_curves", lambda *_: None)


@pytest.fixture
def drawn_curves() -> None:
    """Asks for curves that are drawn."""
