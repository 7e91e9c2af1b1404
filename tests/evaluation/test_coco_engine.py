"""hotcoco measures what pycocotools measures, to the last bit."""

from __future__ import annotations

import sys
from pathlib import Path

import hotcoco
import pytest
import torch
from tiny_cli import expect_error, write_poses

from pct.evaluation.coco_engine import coco_engine, use_coco_engine
from pct.evaluation.metrics import PersonLabels, PoseResults, coco_results_ap, given_box_ap
from pct.skeleton import COCO17

SIGMAS = torch.tensor(COCO17.sigmas)


def persons(seed: int, images: int = 12, count: int = 90) -> tuple[PoseResults, PersonLabels]:
    """Persons of all sizes, crowds, unlabelled ones, and predictions of them with equal scores among theirs."""
    g = torch.Generator().manual_seed(seed)
    area = torch.exp(torch.rand(count, generator=g) * 8 + 3)
    keypoints = torch.rand(count, 17, 2, generator=g) * area.sqrt()[:, None, None] + 100
    visible = torch.rand(count, 17, generator=g) < 0.7
    visible[:3] = False
    bbox = torch.cat([torch.full((count, 2), 100.0), area.sqrt()[:, None].expand(-1, 2)], dim=1)
    image_ids = torch.randint(images, (count,), generator=g) + 2**40
    labels = PersonLabels(keypoints, visible, bbox, area, image_ids, torch.rand(count, generator=g) < 0.1)
    noise = 0.06 * torch.randn(count, 17, 2, generator=g) * area.sqrt()[:, None, None]
    scores = torch.rand(count, generator=g).round(decimals=1)
    return PoseResults(keypoints + noise, image_ids + (scores > 0.9), scores), labels


@pytest.mark.parametrize("seed", range(4))
def test_hotcoco_gives_the_same_numbers(seed: int) -> None:
    results, labels = persons(seed)
    hidden = torch.rand(labels.visible.shape, generator=torch.Generator().manual_seed(seed)) < 0.3

    def measure() -> list[object]:
        nothing = PoseResults(results.keypoints[:0], results.image_ids[:0], results.scores[:0])
        measured = [coco_results_ap(found, labels, SIGMAS) for found in (results, nothing)]
        return [*measured, coco_results_ap(results, labels, SIGMAS, 3), given_box_ap(results, labels, SIGMAS, hidden)]

    reference = measure()
    with use_coco_engine("hotcoco"):
        assert coco_engine()[0] is hotcoco.COCO
        assert measure() == reference
    assert coco_engine()[0] is not hotcoco.COCO
    assert 0.05 < reference[0]["ap"] < 0.95


def test_an_engine_that_is_not_there_is_one_sentence(here: Path, capsys, monkeypatch) -> None:
    with (
        pytest.raises(ValueError, match="'fast'; allowed are pycocotools, hotcoco"),
        use_coco_engine("fast"),
    ):
        pass
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    command = ["evaluate", write_poses(here / "p.json"), "-o", "out", "--coco-engine", "hotcoco"]
    expect_error(capsys, command, 'pip install "pct[hotcoco]"')
