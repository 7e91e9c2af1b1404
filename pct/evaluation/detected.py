"""AP with a detector's boxes: all persons of an annotation file against the poses in all boxes, doubles taken out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pct.data.coco import AREA_SHARE, CocoCategory, annotations_to_table, find_fault, iter_coco_annotations
from pct.evaluation.metrics import CocoAP, PersonLabels, PoseResults, coco_results_ap
from pct.evaluation.photo_metrics import suppress_doubles


def read_all_labels(
    path: str | Path,
    category: CocoCategory,
    image_ids: Collection[int],
    report: Callable[[str], None] | None = None,
) -> PersonLabels:
    """Read every person of some images, crowds and persons without a labelled joint too.

    COCO's evaluator needs these to know which predictions count neither way.

    Args:
        path: COCO-format keypoint file.
        category: Which annotations are read.
        image_ids: Of the images.
        report: Called with a sentence for each bad annotation, which is then skipped; by default it is an error.

    Raises:
        ValueError: If no person is left, or an annotation is bad and ``report`` is None.
    """
    wanted, k = set(image_ids), category.skeleton.num_keypoints
    found: list[Mapping[str, Any]] = []
    for annotation in iter_coco_annotations(path):
        if not isinstance(annotation, Mapping) or annotation.get("image_id") not in wanted:
            continue
        if category.category_id not in (None, annotation.get("category_id", category.category_id)):
            continue
        complete = {**annotation, "keypoints": annotation.get("keypoints") or [0] * 3 * k}
        fault = find_fault(complete, k)
        if fault is None:
            found.append(complete)
            continue
        message = f"{path}: annotation {annotation.get('id')}: {fault}"
        if report is None:
            raise ValueError(message)
        report(message)
    if not found:
        raise ValueError(f"{path}: no person on the {len(wanted)} images, so there is nothing to evaluate")
    table = annotations_to_table(found, category.skeleton)
    crowd = torch.tensor([bool(a.get("iscrowd")) for a in found])
    return PersonLabels(table.keypoints, table.visible, table.bbox, table.area, table.image_ids, crowd)


def detected_ap(results: PoseResults, bbox: Tensor, labels: PersonLabels, sigmas: Tensor) -> CocoAP:
    """Measure poses in detected boxes as COCO does: OKS-NMS, then COCO's evaluator.

    Args:
        results: The pose in each box, with scores that the box's score is part of.
        bbox: The boxes (R, 4) as x, y, width, height in image pixels.
        labels: All persons of the images.
        sigmas: OKS constants (K,).
    """
    areas = AREA_SHARE * bbox[:, 2].double() * bbox[:, 3].double()
    return coco_results_ap(suppress_doubles(results, areas, sigmas), labels, sigmas)
