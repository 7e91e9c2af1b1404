"""Evaluate models that read photos on the same persons, in 2D or 3D: accuracy, hidden joints, calibration, tokens."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pct.checkpoint import fingerprint
from pct.evaluation.coco_ap import CocoAP, PoseResults, coco_results_ap, given_box_ap, suppress_doubles
from pct.evaluation.metrics import (
    expected_calibration_error,
    joint_errors,
    measure_pckh,
    measure_torso_pck,
    oks,
    summarise,
)
from pct.evaluation.metrics3d import mpjpe
from pct.evaluation.photos.predictions import (
    ModelPoses,
    NotedPersons,
    PersonTable,
    PhotoModel,
    PredictionOptions,
    check_model,
    predict_persons,
)
from pct.evaluation.poses import measure_poses
from pct.evaluation.report import make_provenance
from pct.files.coco import AREA_SHARE
from pct.photos.classifier import PoseClassifier
from pct.photos.detection.boxes import DetectedPersons
from pct.photos.person_views import annotated_persons
from pct.photos.persons import MpiiPersons, PersonSource
from pct.pose_space import PoseSpace
from pct.poses import Poses


@dataclass(frozen=True)
class DetectedBoxes:
    """A detector's boxes, and all persons of the photos that it looked at.

    Attributes:
        persons: The boxes with their photos.
        labels: Every person of these photos, crowds and persons without labels too.
        crowd: True for a region that stands for many persons (N,).
    """

    persons: DetectedPersons
    labels: Poses
    crowd: Tensor


@dataclass(frozen=True)
class PhotoEvaluation:
    """What was measured of some models on the same persons, and on which poses.

    Attributes:
        numbers: Everything measured, as plain values for a JSON file: what was measured on, and under ``models`` the
            numbers of each model by name. Errors are in ``unit``: ``px`` of a crop of ``crop_size``, or ``mm``.
        table: The persons.
        poses: Of each model by name, in the order of ``table``.
        space: What their coordinates mean.
    """

    numbers: dict[str, Any]
    table: PersonTable
    poses: dict[str, ModelPoses]
    space: PoseSpace

    @property
    def is_3d(self) -> bool:
        """Whether the poses are in millimetres from their root."""
        return self.space.kind == "root3d"

    def quality(self, name: str) -> Tensor:
        """Return how good each pose (N,) of a model is: its OKS, or minus its MPJPE."""
        keypoints, labels = self.poses[name].keypoints, self.table.labels
        if self.is_3d:
            return -mpjpe(keypoints, labels.keypoints, root=self.space.root)
        sigmas = torch.from_numpy(labels.skeleton.oks_sigmas)
        return oks(keypoints, labels.keypoints, labels.visible, labels.area, sigmas)


def evaluate_photos(
    models: Mapping[str, PhotoModel],
    source: PersonSource,
    options: PredictionOptions | None = None,
    *,
    limit: int | None = None,
    boxes: DetectedBoxes | None = None,
    data: str = "",
    progress: bool = False,
    report: Callable[[str], None] | None = None,
) -> PhotoEvaluation:
    """Measure models on the same persons, in the annotated boxes.

    Args:
        models: By the name that the report calls them; in evaluation mode, all of 2D or all of 3D poses.
        source: The persons with their labels; for 3D poses :class:`~pct.photos.person_views.Persons3D`.
            MPII's are measured by PCKh too.
        options: Flip test, samples, batches.
        limit: At most so many persons, the first ones.
        boxes: Detected boxes, for AP without the annotated ones; not for 3D poses.
        data: Name of the data, for the report.
        progress: Whether progress bars are shown.
        report: Called once for each photo that cannot be read; by default a warning.

    Raises:
        ValueError: If there are no models or persons, or they do not fit together.
    """
    options = options or PredictionOptions()
    if not models:
        raise ValueError("there is no model to evaluate")
    first = next(iter(models.values()))
    for model in models.values():
        check_model(model, source.skeleton, first.space.kind)
    start = time.perf_counter()
    poses, results, table = {}, {}, None
    for name, model in models.items():
        begin = time.perf_counter()
        persons = NotedPersons(annotated_persons(source, model.space), limit)
        found = predict_persons(model, persons, options, report, name if progress else "")
        seconds = time.perf_counter() - begin
        table = table or persons.table(model.space)
        poses[name], results[name] = found, _measure(model, found, table, first.space, seconds)
        if isinstance(source, MpiiPersons):
            results[name]["pckh"] = measure_pckh(found.keypoints, table.labels, source.head_size[table.rows])
        if boxes is not None:
            bar = f"{name}, detected boxes" if progress else ""
            results[name]["detected"] = _measure_detected(model, boxes, options, bar, report)
    assert table is not None
    one = next(iter(results.values()))
    about = make_provenance(
        one["model"],
        one["fingerprint"],
        next(first.parameters()).device,
        data=data or "persons given in memory",
        seconds=time.perf_counter() - start,
        seed=options.seed,
    )
    setting = {**_describe(table, first.space), "flip": options.flip}
    setting["num_detections"] = None if boxes is None else len(boxes.persons)
    return PhotoEvaluation({"provenance": about, **setting, "models": results}, table, poses, first.space)


def _describe(table: PersonTable, space: PoseSpace) -> dict[str, Any]:
    return {
        "skeleton": table.labels.skeleton.name,
        "unit": space.report_unit,
        "crop_size": space.crop_size if space.kind == "crop2d" else None,
        "num_persons": len(table.rows),
        "num_images": len(torch.unique(table.labels.image_ids)),
        "num_joints": int((table.visibility > 0).sum()),
        "num_occluded": int(table.occluded.sum()),
    }


def measure_forms(poses: ModelPoses, table: PersonTable, space: PoseSpace) -> dict[str, Any]:
    """Measure all forms of poses, found by a model of a space, against the true persons.

    Returns:
        ``poses``, for each form what :func:`~pct.evaluation.poses.measure_poses` gives, and the errors of joints that
        are seen, occluded and (in space) outside the photo, without the root, which has no error; on photos AP of the
        ``occluded`` joints too. Of the first form ``joints``, and on photos ``pck_torso``.
    """
    labels, in_space, counted = table.labels, table.labels.num_dims == 3, table.labels.visible.clone()
    kinds = {"seen_error": 2, "occluded_error": 1} | ({"outside_error": 0} if in_space else {})
    if in_space:
        counted[:, space.root] = False
    forms: dict[str, Any] = {}
    joints: list[dict[str, Any]] = []
    for form, keypoints in poses.poses.items():
        numbers, distances = measure_poses(keypoints, labels, space, poses.scores)
        numbers |= {name: summarise(distances[counted & (table.visibility == flag)]) for name, flag in kinds.items()}
        if not in_space:
            numbers["occluded"] = given_box_ap(keypoints, poses.scores, labels, table.occluded)
        forms[form] = numbers
        joints = joints or joint_errors(distances, labels)
    torso = None if in_space else measure_torso_pck(poses.keypoints, labels)
    return {"poses": forms, "joints": joints, "pck_torso": torso}


def _measure(
    model: PhotoModel, poses: ModelPoses, table: PersonTable, space: PoseSpace, seconds: float
) -> dict[str, Any]:
    similarity, known = table.similarity(poses.keypoints, space)
    tokens = None
    if poses.token_hits is not None:
        # A person without a labelled joint has no true tokens.
        hits = poses.token_hits[known.any(dim=1)].float().mean(dim=(0, 1))
        tokens = dict(zip(("top1", "top5"), hits.tolist(), strict=True))
    return {
        "model": describe_model(model),
        "kind": "tokens" if isinstance(model, PoseClassifier) else "heatmaps",
        "fingerprint": fingerprint(model.config.to_dict(), model.state_dict()),
        **measure_forms(poses, table, space),
        "calibration": expected_calibration_error(poses.confidence[known], similarity[known]),
        "fitted": asdict(model.config.calibration) if isinstance(model, PoseClassifier) else None,
        "tokens": tokens,
        "seconds": round(seconds, 2),
        "ms_per_photo": round(1000 * seconds / len(torch.unique(table.labels.image_ids)), 2),
    }


def describe_model(model: PhotoModel) -> str:
    """Return a model's sizes in a sentence."""
    height, width = model.image_size
    parameters = sum(p.numel() for p in model.parameters())
    if isinstance(model, PoseClassifier):
        sizes = model.tokenizer.config
        head = f"{sizes.num_tokens} tokens of {sizes.codebook_size} entries, {model.config.head.kind} head"
    else:
        rows, columns = model.cells.grid
        head = f"heatmaps of {rows} x {columns}, {model.config.heatmap.num_deconvs} deconvolutions"
    return f"{model.config.backbone.name} at {height} x {width}, {head}, {parameters:,} weights"


def _measure_detected(
    model: PhotoModel,
    boxes: DetectedBoxes,
    options: PredictionOptions,
    bar: str,
    report: Callable[[str], None] | None,
) -> CocoAP:
    """Measure poses in detected boxes as COCO does: box scores, OKS-NMS, then COCO's evaluator."""
    persons = NotedPersons(boxes.persons)
    found = predict_persons(model, persons, options, report, bar)
    table, sigmas = persons.table(model.space), torch.from_numpy(model.skeleton.oks_sigmas)
    scores = found.scores * torch.from_numpy(boxes.persons.detections.scores)[table.rows]
    results = PoseResults(found.keypoints, table.labels.image_ids, scores)
    areas = AREA_SHARE * table.labels.bbox[:, 2:].double().prod(dim=1)
    return coco_results_ap(suppress_doubles(results, areas, sigmas), boxes.labels, boxes.crowd)
