"""Tiny tokenizers and tables of poses, and checks of reports, that the tests of the evaluation share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import cv2
import torch
from tiny_codec import make_tokenizer

from pct.evaluation.tokens.coders import Codec
from pct.evaluation.tokens.completion import RidgeRegression
from pct.poses import Poses
from pct.skeleton import COCO17
from pct.tokenizer import PoseTokenizer

SIZES = {"skeleton": COCO17, "num_tokens": 6, "codebook_size": 16, "encoder_width": 16, "decoder_token_hidden": 8}


def make_person_tokenizer(**changes) -> PoseTokenizer:
    return make_tokenizer(**{**SIZES, **changes})


def make_table(n: int = 40, seed: int = 0, labelled: float = 0.85) -> Poses:
    """Persons whose joints scatter around those of one pose; the first sixteen are whole."""
    g = torch.Generator().manual_seed(seed)
    base = torch.rand(17, 2, generator=torch.Generator().manual_seed(9)) * 100
    keypoints = base + 8 * torch.randn(n, 17, 2, generator=g) + 300 * torch.rand(n, 1, 2, generator=g)
    visible = torch.rand(n, 17, generator=g) < labelled
    visible[:, 0] = visible[:16] = True
    low, high = keypoints.amin(dim=1), keypoints.amax(dim=1)
    return Poses(
        COCO17,
        torch.where(visible[..., None], keypoints, 0.0),
        visible,
        torch.cat([low, high - low], dim=1),
        (high - low).prod(dim=1) / 2,
        torch.arange(n) // 2,
        torch.arange(n) + 100,
    )


def fit_ridge(codec: Codec, table: Poses) -> RidgeRegression:
    return RidgeRegression(codec.view(table), table.visible)


def check_report(folder: Path, pictures: set[str], words: Iterable[str]) -> dict:
    """Check that a report's page has these words and pictures, each with something drawn; return its numbers."""
    page = (folder / "index.html").read_text(encoding="utf-8")
    for word in words:
        assert word in page
    files = list((folder / "pictures").iterdir())
    assert {file.stem for file in files} == pictures
    assert page.count("<figure>") == len(files)
    for file in files:
        picture = cv2.imread(str(file)).astype(int)
        # What is drawn has colours; paper, grid and writing have none.
        assert ((picture.max(axis=-1) - picture.min(axis=-1)) > 60).sum() > 200, file.name
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
