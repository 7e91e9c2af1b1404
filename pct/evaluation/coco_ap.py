"""COCO's AP, measured by pycocotools, the reference, or by hotcoco, the same numbers faster; scores and OKS-NMS."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, TypedDict, cast

import numpy as np
import torch
from torch import Tensor

from pct.evaluation.metrics import joint_similarity
from pct.poses import Poses

COCO_ENGINES = ("pycocotools", "hotcoco")
_chosen: ContextVar[str] = ContextVar("coco_engine", default=COCO_ENGINES[0])
# COCO's evaluator keeps this many persons an image; images with more get room for all of theirs.
COCO_MAX_DETECTIONS = 20
# "Simple Baselines for Human Pose Estimation" (Xiao et al., 2018) and most since: poses that are more alike are taken
# for one person found twice.
NMS_THRESHOLD = 0.9


@contextlib.contextmanager
def use_coco_engine(name: str) -> Iterator[None]:
    """Let an engine measure within the block.

    Raises:
        ValueError: If there is no such engine.
        ModuleNotFoundError: If its package is missing.
    """
    if name not in COCO_ENGINES:
        raise ValueError(f"COCO engine is {name!r}; allowed are {', '.join(COCO_ENGINES)}")
    token = _chosen.set(name)
    try:
        coco_engine()
        yield
    finally:
        _chosen.reset(token)


def coco_engine() -> tuple[Any, Any]:
    """Return the classes ``COCO`` and ``COCOeval`` of the engine in use."""
    if _chosen.get() == "hotcoco":
        import hotcoco

        return hotcoco.COCO, hotcoco.COCOeval
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    return COCO, COCOeval


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
class PoseResults:
    """R predicted poses: joints (R, K, 2) in image pixels, the image (R,) and the score (R,) of each."""

    keypoints: Tensor
    image_ids: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return len(self.keypoints)


def given_box_ap(keypoints: Tensor, scores: Tensor, labels: Poses, joints: Tensor | None = None) -> CocoAP:
    """Measure one prediction for each true person with COCO's evaluator, over all labelled joints or some of them.

    With ``joints`` the evaluator sees copies of the labels in which no other joint is labelled. Persons of whom none
    is left, and their predictions, are left out. COCO keeps 20 persons an image; this keeps more where an image has
    more. Where all scores are equal, as those of reconstructions, the precision at every recall is near the share p of
    persons above the threshold, and AP is near p squared: stricter than an AP where good scores come first.

    Args:
        keypoints: A prediction (N, K, 2) for each person of ``labels``, in image pixels.
        scores: Of the predictions (N,).
        labels: The true persons.
        joints: True for the joints that count (N, K).

    Returns:
        Precision and recall; all None if no person is left.
    """
    if joints is not None:
        labels = replace(labels, visible=labels.visible & joints)
    rows = labels.visible.any(dim=1)
    if not rows.any():
        return cast(CocoAP, {**dict.fromkeys(CocoAP.__annotations__), "by_threshold": {}})
    labels = labels.select(rows)
    results = PoseResults(keypoints[rows], labels.image_ids, scores[rows])
    largest = int(torch.unique(labels.image_ids, return_counts=True)[1].max())
    return coco_results_ap(results, labels, max_detections=max(COCO_MAX_DETECTIONS, largest))


def coco_results_ap(
    results: PoseResults, labels: Poses, crowd: Tensor | None = None, max_detections: int = COCO_MAX_DETECTIONS
) -> CocoAP:
    """Measure any predictions, matched by score and OKS, with COCO's evaluator.

    Args:
        results: The predictions; none is a result as any other.
        labels: The true persons. Finding or missing one without a labelled joint counts neither way, and a prediction
            that lies in twice its box is not held against the model. Images that only ``results`` name count too:
            predictions there are wrong.
        crowd: True for a region that stands for many persons (N,); any number of predictions may lie in it. None: no
            such region.
        max_detections: At most so many predictions an image count, those with the best scores.

    Raises:
        ValueError: If there are no true persons.
    """
    if len(labels) == 0:
        raise ValueError("AP needs at least one true person, got none")
    COCO, COCOeval = coco_engine()  # noqa: N806 (as their publisher names them)
    truth, found = COCO(), COCO()
    truth.dataset, found.dataset = _dataset(labels, crowd, results.image_ids), {"annotations": []}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        found = truth.loadRes(_results(results)) if len(results) else found
        evaluator = COCOeval(truth, found, "keypoints")
        evaluator.params.kpt_oks_sigmas = labels.skeleton.oks_sigmas
        evaluator.params.maxDets = [max_detections]
        evaluator.evaluate()
        evaluator.accumulate()
    return _read(evaluator)


def _dataset(labels: Poses, crowd: Tensor | None, more_images: Tensor) -> dict[str, Any]:
    """Return the true poses as the content of a COCO file; 2 is its flag of a labelled joint."""
    visible = labels.visible
    known = torch.where(visible[..., None], labels.keypoints, 0.0)
    triples = torch.cat([known.double(), 2.0 * visible[..., None].double()], dim=-1).flatten(1)
    columns = {
        "image_id": labels.image_ids.tolist(),
        "iscrowd": [0] * len(labels) if crowd is None else crowd.int().tolist(),
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
    areas, thresholds = evaluator.params.areaRngLbl, [f"{t:.2f}" for t in evaluator.params.iouThrs]

    def mean(table: np.ndarray, threshold: str = "", area: str = "all") -> float | None:
        rows = table[thresholds.index(threshold)] if threshold else table
        values = rows[..., areas.index(area), 0]
        measured = values[values > -1]
        return float(measured.mean()) if measured.size else None

    return CocoAP(
        ap=mean(precision),
        ap50=mean(precision, "0.50"),
        ap75=mean(precision, "0.75"),
        ap_medium=mean(precision, area="medium"),
        ap_large=mean(precision, area="large"),
        ar=mean(recall),
        ar50=mean(recall, "0.50"),
        ar75=mean(recall, "0.75"),
        by_threshold={threshold: mean(precision, threshold) for threshold in thresholds},
    )


def oks_nms(
    keypoints: Tensor, scores: Tensor, areas: Tensor, sigmas: Tensor, threshold: float = NMS_THRESHOLD
) -> Tensor:
    """Choose the poses of one image that are not a better one's double.

    From the best score (N,) down, a pose (N, K, 2), in image pixels, is kept unless its OKS with a kept one, measured
    with the constants ``sigmas`` (K,) and the mean of both ``areas`` (N,), in square pixels, is above ``threshold``, in
    [0, 1]. Returns the rows that are kept, best first.
    """
    left = scores.argsort(descending=True, stable=True)
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        area = (areas[left] + areas[best]) / 2
        scale = 2 * sigmas.double() * area.double().sqrt()[:, None]
        alike = joint_similarity(keypoints[left], keypoints[best], scale).mean(dim=1)
        left = left[alike <= threshold]
    return torch.stack(kept) if kept else torch.zeros(0, dtype=torch.int64)


def suppress_doubles(results: PoseResults, areas: Tensor, sigmas: Tensor) -> PoseResults:
    """Apply :func:`oks_nms` to every image; what is left keeps its order."""
    keep = torch.zeros(len(results), dtype=torch.bool)
    counts = torch.unique(results.image_ids, return_counts=True)[1]
    for rows in results.image_ids.argsort(stable=True).split(counts.tolist()):
        keep[rows[oks_nms(results.keypoints[rows], results.scores[rows], areas[rows], sigmas)]] = True
    return PoseResults(results.keypoints[keep], results.image_ids[keep], results.scores[keep])
