"""A tiny classifier whose tokens differ from photo to photo, for the tests of what predicts poses."""

from __future__ import annotations

from dataclasses import replace

import torch
from tiny_photo_models import BACKBONE, HEAD, make_coco_tokenizer

from pct.photos.classifier import ClassifierConfig, PoseClassifier


def make_varied_classifier(seed: int = 0, image_size: tuple[int, int] = (32, 32), **changes) -> PoseClassifier:
    """Return it in evaluation mode; ``changes`` are of the tokenizer."""
    tokenizer = make_coco_tokenizer(seed, **changes)
    model = PoseClassifier(
        ClassifierConfig(replace(BACKBONE, image_size=image_size), replace(HEAD, kind="query")), tokenizer
    )
    with torch.no_grad():
        # As it starts, all photos would get nearly the same tokens.
        for parameter in [*model.backbone.parameters(), *model.head.parameters()]:
            parameter.mul_(2.5)
    return model.eval()
