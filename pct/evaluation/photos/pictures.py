"""The pictures of a report on models of photos: chosen persons with their poses, and plots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pct.drawing import plots
from pct.drawing.poses2d import COLOURED, FAINT, TARGET, PoseLayer, PosePanel, picture_gallery, pose_gallery
from pct.drawing.poses3d import FRONT, TURNED, draw_pose_3d
from pct.evaluation.metrics import choose_examples
from pct.evaluation.photos.evaluate import PhotoEvaluation
from pct.evaluation.report import Figure
from pct.photos.crop import plain_crop
from pct.photos.persons import PersonSource
from pct.pose_space import PoseSpace

_PERSONS, _SIZE = 4, 232
# More samples than these hide the photo.
_SAMPLES = 8
_CAPTIONS = {
    "typical": "Typical persons: the median {measure} of {first}.",
    "hidden": "The persons with the most hidden joints.",
    "worst": "The persons with the worst {measure} of {first}.",
    "best": "The persons with the best {measure} of {first}.",
    "better": "Where {first} beats {second} most.",
    "worse": "Where {first} loses to {second} most.",
}
_FLAT_LEGEND = (
    "Left of each group the labels, hollow where the joint is hidden; then the poses of {models}. The person's left "
    "side is orange, the right side blue."
)
_THIN_SAMPLES = " The thin poses are samples of the tokens: where they spread, the model is not sure."
_SPACE_LEGEND = (
    "Each photo, then the pose of {first} as the camera sees it and turned, on the true pose in grey; the person's "
    "left side is orange, the right side blue, the grid's step half a metre."
)


def choose_rows(found: PhotoEvaluation) -> dict[str, list[int]]:
    """Choose persons by what they show, from how good the poses of the first model are.

    Persons in images of whom less than two thirds of the most labelled one's joints are labelled are not chosen.

    Returns:
        Rows of the table by kind: ``typical``, ``hidden``, ``worst``, ``best``, and with two models ``better`` and
        ``worse``, where the first one wins or loses most.
    """
    table, labelled = found.table, found.table.labels.visible.sum(dim=1)
    least = 0 if found.is_3d else max(1, round(2 / 3 * int(labelled.max())))
    candidates = (labelled >= least).nonzero().flatten()
    first, *others = (found.quality(name)[candidates] for name in found.poses)
    hidden = (table.visibility != 2 if found.is_3d else table.occluded)[candidates].sum(dim=1)
    chosen = choose_examples(-first, _PERSONS)
    chosen["hidden"] = hidden.argsort(descending=True, stable=True)[:_PERSONS]
    if others:
        lead = (first - others[0]).argsort(stable=True)
        chosen |= {"better": lead.flip(0)[:_PERSONS], "worse": lead[:_PERSONS]}
    return {kind: candidates[chosen[kind]].tolist() for kind in _CAPTIONS if kind in chosen}


def draw_persons(found: PhotoEvaluation, source: PersonSource) -> dict[str, Figure]:
    """Draw the chosen persons with their poses, by what they show.

    Args:
        found: The poses.
        source: The persons that were evaluated, whose photos are drawn on.
    """
    names = list(found.poses)
    words = {"first": names[0], "second": names[-1], "models": " and ".join(names)}
    words["measure"] = "error" if found.is_3d else "similarity (OKS)"
    legend = _SPACE_LEGEND if found.is_3d else _FLAT_LEGEND
    if not found.is_3d and any(poses.samples is not None for poses in found.poses.values()):
        legend += _THIN_SAMPLES
    figures = {}
    for kind, rows in choose_rows(found).items():
        picture = _draw_bodies(found, source, rows) if found.is_3d else _draw_crops(found, source, rows)
        figures[kind] = Figure.of(picture, f"{_CAPTIONS[kind]} {legend}".format(**words), kind)
    return figures


def person_panels(found: PhotoEvaluation, source: PersonSource, row: int) -> list[PosePanel]:
    """Return the panels of a person on a photo: the labels, then each model's pose, in pixels of the crop."""
    table, space, person = found.table, found.space, source[int(found.table.rows[row])]
    bbox, visibility = table.labels.bbox[row : row + 1], table.visibility[row]
    image = plain_crop(person.bbox, space, (space.crop_size, space.crop_size)).warp(person.image)

    def to_crop(keypoints: Tensor) -> Tensor:
        return space.normalise(keypoints, bbox.expand(len(keypoints), -1))

    target = to_crop(table.labels.keypoints[row : row + 1])[0]
    seen, hidden = ((visibility == flag).sum().item() for flag in (2, 1))
    # Nothing is drawn where there is no label.
    labels = PoseLayer(torch.where(visibility[:, None] > 0, target, torch.nan), visibility == 2)
    panels = [PosePanel((labels,), f"photo {person.image_id}\n{seen} seen, {hidden} hidden", image)]
    # Bright enough to be seen on dark photos, and dull enough not to outshine the pose.
    faint = replace(FAINT, left=(255, 205, 150), right=(165, 212, 255), middle=(225, 225, 230))
    for name, poses in found.poses.items():
        samples = poses.keypoints[:0] if poses.samples is None else poses.samples[:_SAMPLES, row]
        layers = [PoseLayer(sample, None, faint) for sample in to_crop(samples)]
        layers.append(PoseLayer(to_crop(poses.keypoints[row : row + 1])[0], None, COLOURED))
        panels.append(PosePanel(tuple(layers), f"{name}\nOKS {float(found.quality(name)[row]):.2f}", image))
    return panels


def _draw_crops(found: PhotoEvaluation, source: PersonSource, rows: list[int]) -> np.ndarray:
    panels = [panel for row in rows for panel in person_panels(found, source, row)]
    columns = (1 + len(found.poses)) * (2 if len(rows) > 1 else 1)
    return pose_gallery(panels, found.skeleton, columns, found.space.crop_size, _SIZE)


def _draw_bodies(found: PhotoEvaluation, source: PersonSource, rows: list[int]) -> np.ndarray:
    name, poses = next(iter(found.poses.items()))
    pictures, captions, truth, quality = [], [], found.truth, found.quality(name)
    for row in rows:
        person = source[int(found.table.rows[row])]
        crop = plain_crop(person.bbox, PoseSpace(), (_SIZE, _SIZE)).warp(person.image)
        layers = [PoseLayer(truth[row], None, TARGET), PoseLayer(poses.keypoints[row], None, COLOURED)]
        views = (draw_pose_3d(layers, found.skeleton, view, _SIZE) for view in (FRONT, TURNED))
        pictures.append(np.hstack([crop, *views]))
        captions.append(f"photo {person.image_id}, MPJPE {-float(quality[row]):.0f} mm")
    return picture_gallery(pictures, captions, columns=2)


def draw_plots(found: PhotoEvaluation) -> dict[str, Figure]:
    """Draw AP by threshold and by body part, of 2D poses, and how confidence agrees with what is reached."""
    models: Mapping[str, Any] = found.numbers["models"]
    figures = {} if found.is_3d else _draw_accuracy(models)
    curves = {
        f"{name}: ECE {result['calibration']['ece']:.3f}": [
            (b["confidence"], b["similarity"], b["count"]) for b in result["calibration"]["bins"] if b["count"]
        ]
        for name, result in models.items()
        if result["calibration"]["ece"] is not None
    }
    if curves:
        figures["calibration"] = Figure.of(
            plots.plot_calibration(curves),
            "Confidence of the joints against the similarity that they reach: on the dashed line a model is as good as "
            "it says, below it is too sure of itself. The bars show how many joints have such a confidence.",
            "calibration",
        )
    return figures


def _draw_accuracy(models: Mapping[str, Any]) -> dict[str, Figure]:
    main = {name: next(iter(result["poses"].values())) for name, result in models.items()}
    precision = {
        title: {name: scores[joints]["by_threshold"] for name, scores in main.items()}
        for title, joints in (("All labelled joints", "coco"), ("Hidden joints only", "occluded"))
    }
    parts = {
        name: [None if part["ap"] is None else 100 * part["ap"] for part in result["parts"].values()]
        for name, result in models.items()
    }
    drawn = {
        "thresholds": (
            plots.plot_thresholds({title: values for title, values in precision.items() if any(values.values())}),
            "AP at each OKS threshold: on the left poses that are roughly right count, on the right only precise ones.",
        ),
        "parts": (
            plots.plot_bars(list(next(iter(models.values()))["parts"]), parts, "AP (%)"),
            "AP over the joints of one body part only; no other joint is labelled for the evaluator.",
        ),
    }
    return {name: Figure.of(picture, caption, name) for name, (picture, caption) in drawn.items()}
