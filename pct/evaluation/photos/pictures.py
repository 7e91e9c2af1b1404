"""The pictures of a report on models of photos: chosen persons with their poses."""

from __future__ import annotations

import numpy as np
import torch

from pct.drawing.poses2d import COLOURED, TARGET, PoseLayer, PosePanel, picture_gallery, pose_gallery
from pct.drawing.poses3d import FRONT, TURNED, draw_pose_3d
from pct.evaluation.metrics import choose_examples
from pct.evaluation.photos.evaluate import PhotoEvaluation
from pct.evaluation.report import Figure
from pct.photos.crop import plain_crop
from pct.photos.persons import PersonSource
from pct.pose_space import PoseSpace

_PERSONS, _SIZE = 4, 232
_FLAT_LEGEND = (
    "Left of each group the labels, hollow where the joint is hidden; then the poses of {models}. The person's left "
    "side is orange, the right side blue."
)
_SPACE_LEGEND = (
    "Each photo, then the pose of {first} as the camera sees it and turned, on the true pose in grey; the person's "
    "left side is orange, the right side blue, the grid's step half a metre."
)


def choose_rows(found: PhotoEvaluation) -> dict[str, list[int]]:
    """Choose persons by what they show, from how good the poses of the first model are.

    Persons in images of whom less than two thirds of the most labelled one's joints are labelled are not chosen.

    Returns:
        Rows of the table by kind: ``typical``, ``worst``, ``best``, and ``hidden``, with the most hidden joints.
    """
    table, labelled = found.table, found.table.labels.visible.sum(dim=1)
    least = 0 if found.is_3d else max(1, round(2 / 3 * int(labelled.max())))
    candidates = (labelled >= least).nonzero().flatten()
    hidden = (table.visibility != 2 if found.is_3d else table.occluded)[candidates].sum(dim=1)
    chosen = choose_examples(-found.quality(next(iter(found.poses)))[candidates], _PERSONS)
    chosen["hidden"] = hidden.argsort(descending=True, stable=True)[:_PERSONS]
    return {kind: candidates[rows].tolist() for kind, rows in chosen.items()}


def draw_persons(found: PhotoEvaluation, source: PersonSource) -> list[Figure]:
    """Draw the chosen persons with their poses on the photos of ``source``, the persons that were evaluated."""
    names = list(found.poses)
    legend = _SPACE_LEGEND.format(first=names[0]) if found.is_3d else _FLAT_LEGEND.format(models=" and ".join(names))
    draw, measure = (_draw_bodies, "error") if found.is_3d else (_draw_crops, "similarity (OKS)")
    figures = []
    for kind, rows in choose_rows(found).items():
        what = "The most hidden joints." if kind == "hidden" else f"Persons with {kind} {measure} of {names[0]}."
        figures.append(Figure.of(draw(found, source, rows), f"{what} {legend}", kind))
    return figures


def person_panels(found: PhotoEvaluation, source: PersonSource, row: int) -> list[PosePanel]:
    """Return the panels of a person on a photo: the labels, then each model's pose, in pixels of the crop."""
    table, space, person = found.table, found.space, source[int(found.table.rows[row])]
    bbox, visibility = table.labels.bbox[row : row + 1], table.visibility[row]
    image = plain_crop(person.bbox, space, (space.crop_size, space.crop_size)).warp(person.image)
    target = space.normalise(table.labels.keypoints[row : row + 1], bbox)[0]
    seen, hidden = ((visibility == flag).sum().item() for flag in (2, 1))
    # Nothing is drawn where there is no label.
    labels = PoseLayer(torch.where(visibility[:, None] > 0, target, torch.nan), visibility == 2)
    panels = [PosePanel((labels,), f"photo {person.image_id}\n{seen} seen, {hidden} hidden", image)]
    for name, poses in found.poses.items():
        pose = PoseLayer(space.normalise(poses.keypoints[row : row + 1], bbox)[0], None, COLOURED)
        panels.append(PosePanel((pose,), f"{name}\nOKS {float(found.quality(name)[row]):.2f}", image))
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
