"""PoseClassifier: what learns, and what is refused when it is loaded with its tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tiny_photo_models import HEAD, make_classifier, make_coco_tokenizer

from pct.checkpoint import CheckpointError
from pct.photos.classifier import PoseClassifier
from pct.photos.config import HeadSizes


def images(count: int = 2, size: tuple[int, int] = (32, 32)) -> torch.Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("head", [HEAD, HeadSizes("published", width=16, num_blocks=1, conv_channels=8)])
def test_every_weight_but_the_tokenizers_gets_a_gradient(head: HeadSizes) -> None:
    model = make_classifier(head=head).train()
    output = model(images())
    assert output.logits.shape == (2, 6, 16)
    assert output.keypoints.shape == (2, 17, 2)
    (output.logits.square().sum() + output.keypoints.square().sum()).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None and bool(parameter.grad.any())) != name.startswith("tokenizer."), name


def test_no_tokenizer_or_another_than_the_heads_is_refused_and_both_are_named(tmp_path: Path) -> None:
    model, other = make_classifier(), make_coco_tokenizer(seed=5)
    model.save_pretrained(tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / "tokenizer")
    with pytest.raises(CheckpointError, match="tokenizer"):
        PoseClassifier.from_pretrained(tmp_path / "model")
    other.save_pretrained(tmp_path / "model" / "tokenizer")
    names = f"{model.tokenizer.fingerprint()}.*{other.fingerprint()}"
    with pytest.raises(CheckpointError, match=names):
        PoseClassifier.from_pretrained(tmp_path / "model")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"head": {"kind": "quary"}}, "head kind is 'quary'"),
        ({"backbone": None}, "do not make this model"),
        ({"head": []}, "do not make this model"),
        ({"backbone": {"name": "swin_picco", "image_size": [32, 32]}}, "nearest names are swin_pico"),
        ({"more": 1}, "unknown keys: more"),
    ],
)
def test_broken_configs_are_refused_with_a_sentence(tmp_path: Path, change: dict, sentence: str) -> None:
    make_classifier().save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CheckpointError, match=sentence):
        PoseClassifier.from_pretrained(tmp_path / "model")
