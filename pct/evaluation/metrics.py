"""Measures of poses: OKS, COCO's AP, errors in pixels, PCK and PCKh."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict, cast

import numpy as np
import torch
from torch import Tensor

from pct.evaluation.coco_engine import coco_engine

# COCO's evaluator keeps this many persons an image; images with more get room for all of theirs.
COCO_MAX_DETECTIONS = 20


class CocoAP(TypedDict):
    """What COCO's keypoint evaluator reports, each in [0, 1]; None where no person is in the class.

    ``ap`` is the mean average precision over the OKS thresholds 0.50, 0.55 ... 0.95, ``ar`` the mean recall; 50 and 75
    name one threshold. ``ap_medium`` is that of persons with an area from 32^2 to 96^2 square pixels, ``ap_large`` of
    larger ones. ``by_threshold`` has the average precision at "0.50", "0.55" ... "0.95".
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_medium: float | None
    ap_large: float | None
    ar: float | None
    ar50: float | None
    ar75: float | None
    by_threshold: dict[str, float | None]


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


class ErrorSummary(TypedDict):
    """Distances between joints and their targets: how many, mean, median, and what 90 % of them stay below.

    They are in the unit they were given in; None without joints.
    """

    count: int
    mean: float | None
    median: float | None
    p90: float | None


def summarise(distances: Tensor) -> ErrorSummary:
    """Summarise distances of any shape."""
    if distances.numel() == 0:
        return ErrorSummary(count=0, mean=None, median=None, p90=None)
    values = distances.double().flatten().cpu().numpy()
    median, p90 = np.quantile(values, [0.5, 0.9])
    return ErrorSummary(count=len(values), mean=float(values.mean()), median=float(median), p90=float(p90))


def choose_examples(errors: Tensor, number: int) -> dict[str, Tensor]:
    """Return rows of poses to show, by their errors (N,): at most ``number`` ``typical``, ``worst`` and ``best`` ones.

    Typical ones have the median error; the other rows come with the most extreme pose first.
    """
    order = errors.argsort(stable=True)
    middle = max(0, len(order) // 2 - number // 2)
    return {"typical": order[middle:][:number], "worst": order.flip(0)[:number], "best": order[:number]}


def joint_similarity(keypoints: Tensor, target_keypoints: Tensor, area: Tensor, sigmas: Tensor) -> Tensor:
    """Return the keypoint similarity of each joint, whose mean over a person's labelled joints is OKS.

    Args:
        keypoints: Joints (N, K, 2) in image pixels.
        target_keypoints: True joints (N, K, 2) in image pixels.
        area: Segment area (N,) in square pixels.
        sigmas: COCO's constants (K,).

    Returns:
        ``exp(-d^2 / (2 area (2 sigma)^2))``, (N, K), float64 in [0, 1].
    """
    squared = (keypoints.double() - target_keypoints.double()).square().sum(dim=-1)
    variance = (2 * sigmas.to(squared)).square() * area.to(squared).clamp(min=1e-9)[:, None]
    return torch.exp(-squared / (2 * variance))


def oks(keypoints: Tensor, target_keypoints: Tensor, visible: Tensor, area: Tensor, sigmas: Tensor) -> Tensor:
    """Return the object keypoint similarity of poses, as COCO defines it.

    Mean of :func:`joint_similarity` over the labelled joints.

    Args:
        keypoints: Joints (N, K, 2) in image pixels.
        target_keypoints: True joints (N, K, 2) in image pixels; unlabelled ones may hold anything.
        visible: True where the target is labelled (N, K).
        area: Segment area (N,) in square pixels.
        sigmas: COCO's constants (K,).

    Returns:
        Similarities (N,), float64 in [0, 1]; 0 for a pose without a labelled joint.
    """
    similarity = joint_similarity(keypoints, target_keypoints, area, sigmas)
    return torch.where(visible, similarity, 0.0).sum(dim=1) / visible.sum(dim=1).clamp(min=1)


def joint_distances(keypoints: Tensor, target_keypoints: Tensor, visible: Tensor) -> Tensor:
    """Return Euclidean distances (N, K), float64, of joints (N, K, D) to their targets; 0 where not ``visible``."""
    difference = (keypoints.double() - target_keypoints.double()).norm(dim=-1)
    return torch.where(visible, difference, 0.0)


def joint_errors(
    names: Sequence[str], distances: Tensor, visible: Tensor, sigmas: Sequence[float] | None = None
) -> list[dict[str, Any]]:
    """Summarise distances (N, K) for each joint, over the poses where it is ``visible`` (N, K).

    Returns:
        For each joint its ``name``, its OKS constant ``sigma`` (None in space) and its ``error``.
    """
    return [
        {
            "name": name,
            "sigma": None if sigmas is None else float(sigmas[joint]),
            "error": summarise(distances[visible[:, joint], joint]),
        }
        for joint, name in enumerate(names)
    ]


def pck(distances: Tensor, visible: Tensor, lengths: Tensor, alpha: float) -> float | None:
    """Return the share of correct keypoints: not farther from the target than ``alpha`` times a length of the person.

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


def given_box_ap(results: PoseResults, labels: PersonLabels, sigmas: Tensor, joints: Tensor | None = None) -> CocoAP:
    """Measure one prediction for each true person with COCO's evaluator, over all labelled joints or some of them.

    With ``joints`` the evaluator sees copies of the labels in which no other joint is labelled. Persons of whom none
    is left, and their predictions, are left out. COCO keeps 20 persons an image; this keeps more where an image has
    more. Where all scores are equal, as those of reconstructions, the precision at every recall is near the share p of
    persons above the threshold, and AP is near p squared: stricter than an AP where good scores come first.

    Args:
        results: One prediction for each person of ``labels``, in the same order.
        labels: The true persons.
        sigmas: The skeleton's OKS constants (K,).
        joints: True for the joints that count (N, K).

    Returns:
        Precision and recall; all None if no person is left.
    """
    if joints is not None:
        labels = replace(labels, visible=labels.visible & joints)
    rows = labels.visible.any(dim=1)
    if not rows.any():
        return cast(CocoAP, {**dict.fromkeys(CocoAP.__annotations__), "by_threshold": {}})
    columns = ("keypoints", "visible", "bbox", "area", "image_ids")
    labels = PersonLabels(*(getattr(labels, name)[rows] for name in columns))
    results = PoseResults(results.keypoints[rows], results.image_ids[rows], results.scores[rows])
    largest = int(torch.unique(labels.image_ids, return_counts=True)[1].max())
    return coco_results_ap(results, labels, sigmas, max(COCO_MAX_DETECTIONS, largest))


def coco_results_ap(
    results: PoseResults, labels: PersonLabels, sigmas: Tensor, max_detections: int = COCO_MAX_DETECTIONS
) -> CocoAP:
    """Measure any predictions, matched by score and OKS, with COCO's evaluator (:mod:`pct.evaluation.coco_engine`).

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
    COCO, COCOeval = coco_engine()  # noqa: N806 (as their publisher names them)
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
