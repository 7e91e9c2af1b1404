"""Evaluate models that read photos on the same persons: AP, occluded joints, body parts, calibration, tokens."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pct.data.detections import DetectedPersons
from pct.data.photos import PersonSource
from pct.evaluation.detected import detected_ap
from pct.evaluation.metrics import (
    CocoAP,
    ErrorSummary,
    PersonLabels,
    PoseResults,
    joint_distances,
    joint_errors,
    oks,
    pck,
)
from pct.evaluation.photo_metrics import expected_calibration_error, given_box_ap, joint_similarity, rescore
from pct.evaluation.photo_predictions import (
    NotedPersons,
    PhotoModel,
    PredictionOptions,
    check_model,
    image_size_of,
    predict_persons,
    skeleton_of,
    space_of,
)
from pct.evaluation.photo_results import (
    ModelPoses,
    ModelResult,
    PartScores,
    PersonTable,
    PhotoEvaluation,
    PoseScores,
    TokenAccuracy,
)
from pct.evaluation.provenance import make_provenance
from pct.evaluation.results import JointResult
from pct.models.checkpoint import fingerprint
from pct.models.classifier import PoseClassifier
from pct.pose_space import PoseSpace
from pct.skeleton import Skeleton

# MPII's tables leave these joints out of the mean, which is taken over all other labelled joints alike.
_NOT_IN_PCKH = ("pelvis", "thorax")


@dataclass(frozen=True)
class DetectedBoxes:
    """A detector's boxes, and all persons of the photos that it looked at.

    Attributes:
        persons: The boxes with their photos.
        labels: Every person of these photos, crowds and persons without labels too.
    """

    persons: DetectedPersons
    labels: PersonLabels


@dataclass(frozen=True)
class EvaluatedPoses:
    """The poses behind an evaluation, for its pictures.

    Attributes:
        table: The persons.
        models: Of each model by name, in the order of ``table``.
    """

    table: PersonTable
    models: dict[str, ModelPoses] = field(default_factory=dict)


def evaluate_photos(
    models: Mapping[str, PhotoModel],
    source: PersonSource,
    options: PredictionOptions | None = None,
    *,
    limit: int | None = None,
    boxes: DetectedBoxes | None = None,
    head_size: Tensor | None = None,
    data: str = "",
    notes: Sequence[str] = (),
    progress: Callable[[str, int, int], None] | None = None,
    report: Callable[[str], None] | None = None,
) -> tuple[PhotoEvaluation, EvaluatedPoses]:
    """Measure models on the same persons.

    Args:
        models: By the name that the report calls them; in evaluation mode.
        source: The persons with their labels; the models see the annotated boxes.
        options: Flip test, samples, batches.
        limit: At most so many persons, the first ones.
        boxes: Detected boxes, for AP without the annotated ones.
        head_size: Of the source's persons (N,) in pixels, for PCKh; NaN where unknown.
        data: Name of the data, for the report.
        notes: Sentences on the data, for the report.
        progress: Called with the name of a stage, how much of it was just done, and its length.
        report: Called once for each photo that cannot be read; by default a warning.

    Returns:
        The numbers, and the poses that they were measured on.

    Raises:
        ValueError: If there are no models or persons, or their joints differ.
    """
    options = options or PredictionOptions()
    if not models:
        raise ValueError("there is no model to evaluate")
    for model in models.values():
        check_model(model, source.skeleton, "crop2d")
    start = time.perf_counter()
    space = _report_space(space_of(next(iter(models.values()))))
    results, poses, table = {}, {}, None
    for name, model in models.items():
        begin = time.perf_counter()
        persons = NotedPersons(source, limit)
        poses[name] = predict_persons(model, persons, options, _stage(progress, name, len(persons)), report)
        seconds = time.perf_counter() - begin
        table = table or persons.table()
        heads = None if head_size is None else head_size[table.rows]
        detected = None if boxes is None else _measure_detected(model, name, boxes, options, progress, report)
        results[name] = _measure(model, poses[name], table, space, detected, heads, seconds)
    assert table is not None
    first, device = next(iter(results.values())), next(next(iter(models.values())).parameters()).device
    evaluation = PhotoEvaluation(
        provenance=make_provenance(
            first.model,
            first.fingerprint,
            device,
            data=data or "persons given in memory",
            seconds=time.perf_counter() - start,
            seed=options.seed,
            notes=notes,
        ),
        skeleton=source.skeleton,
        crop_size=space.crop_size,
        num_persons=len(table.rows),
        num_images=len(torch.unique(table.labels.image_ids)),
        num_joints=int(table.labels.visible.sum()),
        num_occluded=int(table.occluded.sum()),
        flip=options.flip,
        num_detections=None if boxes is None else len(boxes.persons),
        models=results,
    )
    return evaluation, EvaluatedPoses(table, poses)


def describe_model(model: PhotoModel) -> str:
    """Return a model's sizes in a sentence."""
    height, width = image_size_of(model)
    parameters = sum(p.numel() for p in model.parameters())
    if isinstance(model, PoseClassifier):
        sizes = model.tokenizer.config
        head = f"{sizes.num_tokens} tokens of {sizes.codebook_size} entries, {model.config.head.kind} head"
    else:
        head = f"heatmaps of {model.grid[0]} x {model.grid[1]}, {model.config.heatmap.num_deconvs} deconvolutions"
    return f"{model.config.backbone.name} at {height} x {width}, {head}, {parameters:,} weights"


def _measure(
    model: PhotoModel,
    found: ModelPoses,
    table: PersonTable,
    space: PoseSpace,
    detected: CocoAP | None,
    head_size: Tensor | None,
    seconds: float,
) -> ModelResult:
    labels, sigmas = table.labels, torch.from_numpy(skeleton_of(model).oks_sigmas)
    skeleton, scores = skeleton_of(model), rescore(found.confidence, threshold=found.score_threshold)
    distances = {form: _distances(keypoints, labels, space) for form, keypoints in found.poses.items()}
    poses = {
        form: _score(PoseResults(keypoints, labels.image_ids, scores), distances[form], table, sigmas)
        for form, keypoints in found.poses.items()
    }
    main = PoseResults(found.keypoints, labels.image_ids, scores)
    distance = next(iter(distances.values()))
    similarity = joint_similarity(found.keypoints, labels.keypoints, labels.area, sigmas)
    is_classifier = isinstance(model, PoseClassifier)
    return ModelResult(
        model=describe_model(model),
        kind="tokens" if is_classifier else "heatmaps",
        fingerprint=fingerprint(model.config.to_dict(), model.state_dict()),
        poses=poses,
        parts={
            part: _score_part(main, list(joints), distance, table, sigmas) for part, joints in skeleton.parts.items()
        },
        joints=[
            JointResult(name, float(sigma), error)
            for name, sigma, error in zip(
                skeleton.keypoint_names, sigmas, joint_errors(distance, labels.visible), strict=True
            )
        ],
        calibration=expected_calibration_error(found.confidence[labels.visible], similarity[labels.visible]),
        fitted=model.config.calibration if isinstance(model, PoseClassifier) else None,
        tokens=_token_accuracy(found, labels),
        detected=detected,
        pckh=None if head_size is None else _measure_pckh(found.keypoints, labels, head_size, skeleton),
        seconds=round(seconds, 2),
    )


def _score(results: PoseResults, distance: Tensor, table: PersonTable, sigmas: Tensor) -> PoseScores:
    labels = table.labels
    similarity = oks(results.keypoints, labels.keypoints, labels.visible, labels.area, sigmas)
    return PoseScores(
        coco=given_box_ap(results, labels, sigmas),
        occluded=given_box_ap(results, labels, sigmas, table.occluded),
        mean_oks=float(similarity[labels.visible.any(dim=1)].mean()),
        error=ErrorSummary.of(distance[labels.visible]),
        seen_error=ErrorSummary.of(distance[labels.visible & ~table.occluded]),
        occluded_error=ErrorSummary.of(distance[table.occluded]),
    )


def _score_part(
    results: PoseResults, joints: list[int], distance: Tensor, table: PersonTable, sigmas: Tensor
) -> PartScores:
    part = torch.zeros_like(table.labels.visible)
    part[:, joints] = True
    return PartScores(
        ap=given_box_ap(results, table.labels, sigmas, part).ap,
        error=ErrorSummary.of(distance[table.labels.visible & part]),
        occluded_error=ErrorSummary.of(distance[table.occluded & part]),
    )


def _token_accuracy(found: ModelPoses, labels: PersonLabels) -> TokenAccuracy | None:
    if found.token_hits is None:
        return None
    # A person without a labelled joint has no true tokens.
    top1, top5 = found.token_hits[labels.visible.any(dim=1)].float().mean(dim=(0, 1)).tolist()
    return TokenAccuracy(top1, top5)


def _measure_detected(
    model: PhotoModel,
    name: str,
    boxes: DetectedBoxes,
    options: PredictionOptions,
    progress: Callable[[str, int, int], None] | None,
    report: Callable[[str], None] | None,
) -> CocoAP:
    persons = NotedPersons(boxes.persons)
    stage = _stage(progress, f"{name}, detected boxes", len(persons))
    found = predict_persons(model, persons, options, stage, report)
    table = persons.table()
    scores = torch.from_numpy(boxes.persons.detections.scores)[table.rows]
    sigmas = torch.from_numpy(skeleton_of(model).oks_sigmas)
    scores = rescore(found.confidence, scores, found.score_threshold)
    results = PoseResults(found.keypoints, table.labels.image_ids, scores)
    return detected_ap(results, table.labels.bbox, boxes.labels, sigmas)


def _measure_pckh(
    keypoints: Tensor, labels: PersonLabels, head_size: Tensor, skeleton: Skeleton
) -> dict[str, float | None]:
    counts = labels.visible & torch.isfinite(head_size)[:, None]
    distances = joint_distances(keypoints, labels.keypoints, counts)
    heads = torch.nan_to_num(head_size)
    names = skeleton.keypoint_names
    shares = {name: pck(distances[:, i : i + 1], counts[:, i : i + 1], heads, 0.5) for i, name in enumerate(names)}
    usual = [i for i, name in enumerate(names) if name not in _NOT_IN_PCKH]
    return {**shares, "mean": pck(distances[:, usual], counts[:, usual], heads, 0.5)}


def _report_space(space: PoseSpace) -> PoseSpace:
    """Return the space whose units are pixels of the crop."""
    return PoseSpace(padding=space.padding, crop_size=space.crop_size, units="pixels")


def _distances(keypoints: Tensor, labels: PersonLabels, space: PoseSpace) -> Tensor:
    """Return distances (N, K) from the labels in pixels of the crop."""
    crop = [space.normalise(points, labels.bbox) for points in (keypoints, labels.keypoints)]
    return joint_distances(crop[0], crop[1], labels.visible)


def _stage(progress: Callable[[str, int, int], None] | None, name: str, total: int) -> Callable[[int], None] | None:
    return None if progress is None else lambda done: progress(name, done, total)
