"""Measures of poses: OKS, COCO's AP, errors in pixels, PCK and PCKh."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

# COCO's evaluator keeps this many persons an image; images with more get room for all of theirs.
COCO_MAX_DETECTIONS = 20


@dataclass(frozen=True)
class CocoAP:
    """What COCO's keypoint evaluator reports, each in [0, 1]; None where no person is in the class.

    Attributes:
        ap: Mean average precision over the OKS thresholds 0.50, 0.55 ... 0.95.
        ap50: At OKS 0.50.
        ap75: At OKS 0.75.
        ap_medium: Of persons with an area from 32^2 to 96^2 square pixels.
        ap_large: Of persons with an area above 96^2 square pixels.
        ar: Mean recall over the thresholds.
        ar50: Recall at OKS 0.50.
        ar75: Recall at OKS 0.75.
        by_threshold: Average precision at each OKS threshold, "0.50", "0.55" ... "0.95".
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_medium: float | None
    ap_large: float | None
    ar: float | None
    ar50: float | None
    ar75: float | None
    by_threshold: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class PersonLabels:
    """The true persons of some images, as COCO's evaluator takes them.

    Attributes:
        keypoints: Joints (N, K, 2) in image pixels; unlabelled ones may hold anything.
        visible: True where the joint is labelled (N, K). Finding or missing a person without a labelled joint counts
            neither way, and a prediction that lies in twice its box is not held against the model.
        bbox: Boxes (N, 4) as x, y, width, height in image pixels.
        area: Segment area (N,) in square pixels, the scale of OKS.
        image_ids: Image of each person (N,), int64.
        crowd: True for a region that stands for many persons (N,); any number of predictions may lie in it. None: no
            such region.
    """

    keypoints: Tensor
    visible: Tensor
    bbox: Tensor
    area: Tensor
    image_ids: Tensor
    crowd: Tensor | None = None

    def __len__(self) -> int:
        return len(self.keypoints)


@dataclass(frozen=True)
class PoseResults:
    """R predicted poses: joints (R, K, 2) in image pixels, the image (R,) and the score (R,) of each."""

    keypoints: Tensor
    image_ids: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return len(self.keypoints)


@dataclass(frozen=True)
class ErrorSummary:
    """Distances between joints and their targets, in the unit they were given in.

    Attributes:
        count: Number of joints that were measured.
        mean: Mean distance; None without joints.
        median: Median distance.
        p90: Distance that 90 % of the joints stay below.
    """

    count: int
    mean: float | None
    median: float | None
    p90: float | None

    @classmethod
    def of(cls, distances: Tensor) -> ErrorSummary:
        """Summarise distances of any shape."""
        if distances.numel() == 0:
            return cls(0, None, None, None)
        values = distances.double().flatten().cpu().numpy()
        median, p90 = np.quantile(values, [0.5, 0.9])
        return cls(len(values), float(values.mean()), float(median), float(p90))


def oks(keypoints: Tensor, target_keypoints: Tensor, visible: Tensor, area: Tensor, sigmas: Tensor) -> Tensor:
    """Return the object keypoint similarity of poses, as COCO defines it.

    Mean over the labelled joints of ``exp(-d^2 / (2 area (2 sigma)^2))``.

    Args:
        keypoints: Joints (N, K, 2) in image pixels.
        target_keypoints: True joints (N, K, 2) in image pixels; unlabelled ones may hold anything.
        visible: True where the target is labelled (N, K).
        area: Segment area (N,) in square pixels.
        sigmas: COCO's constants (K,).

    Returns:
        Similarities (N,), float64 in [0, 1]; 0 for a pose without a labelled joint.
    """
    distance = joint_distances(keypoints, target_keypoints, visible)
    variance = (2 * sigmas.to(distance).square()) * 4 * area.to(distance).clamp(min=1e-9)[:, None]
    similarity = torch.where(visible, torch.exp(-distance.square() / variance), 0.0)
    return similarity.sum(dim=1) / visible.sum(dim=1).clamp(min=1)


def joint_distances(keypoints: Tensor, target_keypoints: Tensor, visible: Tensor) -> Tensor:
    """Return Euclidean distances (N, K), float64, of joints (N, K, D) to their targets; 0 where not ``visible``."""
    difference = (keypoints.double() - target_keypoints.double()).norm(dim=-1)
    return torch.where(visible, difference, 0.0)


def joint_errors(distances: Tensor, visible: Tensor) -> list[ErrorSummary]:
    """Summarise distances (N, K) for each joint, over the poses where it is ``visible`` (N, K)."""
    return [ErrorSummary.of(distances[visible[:, joint], joint]) for joint in range(distances.shape[1])]


def pck(distances: Tensor, visible: Tensor, lengths: Tensor, alpha: float) -> float | None:
    """Return the share of correct keypoints: those nearer to the target than ``alpha`` times a length of the person.

    Args:
        distances: Of the joints to their targets (N, K), in the unit of ``lengths``.
        visible: True where the target is labelled (N, K).
        lengths: The longer side of the person's box (N,); for PCKh the head size.
        alpha: Share of the length; PCKh is usually reported at 0.5.

    Returns:
        The share in [0, 1], or None without a labelled joint.
    """
    if not visible.any():
        return None
    correct = distances <= alpha * lengths.to(distances)[:, None]
    return float(correct[visible].double().mean())


def coco_keypoint_ap(
    keypoints: Tensor,
    target_keypoints: Tensor,
    visible: Tensor,
    bbox: Tensor,
    area: Tensor,
    image_ids: Tensor,
    sigmas: Tensor,
    scores: Tensor | None = None,
) -> CocoAP:
    """Measure poses with COCO's own keypoint evaluator (pycocotools), one prediction a person.

    A reconstruction has no score of its own, so all get the same unless ``scores`` are given. With equal scores the
    precision at every recall is near the share p of persons above the threshold, and AP is near p squared: stricter
    than an AP where good scores come first. COCO keeps 20 persons an image; this keeps more where an image has more.

    Args:
        keypoints: Joints (N, K, 2) in image pixels.
        target_keypoints: True joints (N, K, 2) in image pixels.
        visible: True where the target is labelled (N, K).
        bbox: True boxes (N, 4) as x, y, width, height in image pixels.
        area: Segment area (N,) in square pixels.
        image_ids: Image of each person (N,).
        sigmas: The skeleton's OKS constants (K,).
        scores: Of the predictions (N,); 1 where not given.

    Raises:
        ValueError: If there are no poses.
    """
    if len(keypoints) == 0:
        raise ValueError("AP needs at least one pose, got none")
    results = PoseResults(keypoints, image_ids, torch.ones(len(keypoints)) if scores is None else scores)
    largest = int(torch.unique(image_ids, return_counts=True)[1].max())
    labels = PersonLabels(target_keypoints, visible, bbox, area, image_ids)
    return coco_results_ap(results, labels, sigmas, max(COCO_MAX_DETECTIONS, largest))


def coco_results_ap(
    results: PoseResults, labels: PersonLabels, sigmas: Tensor, max_detections: int = COCO_MAX_DETECTIONS
) -> CocoAP:
    """Measure any predictions, matched by score and OKS, with COCO's own keypoint evaluator (pycocotools).

    Args:
        results: The predictions; none is a result as any other.
        labels: The true persons. Images that only ``results`` name count too: predictions there are wrong.
        sigmas: The skeleton's OKS constants (K,).
        max_detections: At most so many predictions an image count, those with the best scores.

    Raises:
        ValueError: If there are no true persons.
    """
    if len(labels) == 0:
        raise ValueError("AP needs at least one true person, got none")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, found = COCO(), COCO()
    truth.dataset, found.dataset = _dataset(labels, results.image_ids), {"annotations": []}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        found = truth.loadRes(_results(results)) if len(results) else found
        evaluator = COCOeval(truth, found, "keypoints")
        evaluator.params.kpt_oks_sigmas = sigmas.double().cpu().numpy()
        evaluator.params.maxDets = [max_detections]
        evaluator.evaluate()
        evaluator.accumulate()
    return _read(evaluator)


def _dataset(labels: PersonLabels, more_images: Tensor) -> dict[str, Any]:
    """Return the true poses as the content of a COCO file; 2 is its flag of a labelled joint."""
    visible = labels.visible
    known = torch.where(visible[..., None], labels.keypoints, 0.0)
    triples = torch.cat([known.double(), 2.0 * visible[..., None].double()], dim=-1).flatten(1)
    crowd = torch.zeros(len(labels)) if labels.crowd is None else labels.crowd
    columns = {
        "image_id": labels.image_ids.tolist(),
        "iscrowd": crowd.int().tolist(),
        "keypoints": triples.tolist(),
        "num_keypoints": visible.sum(dim=1).tolist(),
        "bbox": labels.bbox.double().tolist(),
        "area": labels.area.double().tolist(),
    }
    rows = zip(*columns.values(), strict=True)
    annotations = [{"id": i, "category_id": 1, **dict(zip(columns, row, strict=True))} for i, row in enumerate(rows, 1)]
    images = [{"id": i} for i in torch.unique(torch.cat([labels.image_ids, more_images])).tolist()]
    return {"info": {}, "images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}


def _results(results: PoseResults) -> list[dict[str, Any]]:
    """Return poses in COCO's results format."""
    keypoints = results.keypoints.double()
    triples = torch.cat([keypoints, torch.ones_like(keypoints[..., :1])], dim=-1).flatten(1)
    rows = zip(results.image_ids.tolist(), triples.tolist(), results.scores.tolist(), strict=True)
    return [{"image_id": i, "category_id": 1, "keypoints": triple, "score": s} for i, triple, s in rows]


def _read(evaluator: Any) -> CocoAP:
    """Take the means out of the evaluator's tables as its ``summarize`` does; that one is fixed to 20 detections."""
    precision, recall = evaluator.eval["precision"], evaluator.eval["recall"]  # (T, R, 1, areas, 1), (T, 1, areas, 1)
    areas: Sequence[str] = evaluator.params.areaRngLbl
    threshold = {round(float(t), 2): i for i, t in enumerate(evaluator.params.iouThrs)}

    def mean(values: np.ndarray) -> float | None:
        measured = values[values > -1]
        return float(measured.mean()) if measured.size else None

    whole = areas.index("all")
    return CocoAP(
        ap=mean(precision[:, :, 0, whole]),
        ap50=mean(precision[threshold[0.5], :, 0, whole]),
        ap75=mean(precision[threshold[0.75], :, 0, whole]),
        ap_medium=mean(precision[:, :, 0, areas.index("medium")]),
        ap_large=mean(precision[:, :, 0, areas.index("large")]),
        ar=mean(recall[:, 0, whole]),
        ar50=mean(recall[threshold[0.5], 0, whole]),
        ar75=mean(recall[threshold[0.75], 0, whole]),
        by_threshold={f"{t:.2f}": mean(precision[i, :, 0, whole]) for t, i in threshold.items()},
    )
