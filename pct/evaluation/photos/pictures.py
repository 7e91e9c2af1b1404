"""The pictures of a report on models of photos: chosen persons with their poses."""

from __future__ import annotations

import torch

from pct.drawing.panels import PosePanel, pose_gallery
from pct.drawing.poses2d import COLOURED, TARGET, PoseLayer
from pct.evaluation.blocks import choose_examples
from pct.evaluation.photos.evaluate import PhotoEvaluation
from pct.evaluation.report import Figure
from pct.photos.crop import plain_crop
from pct.photos.persons import PersonSource

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
    chosen["hidden"] = hidden.argsort(descending=True, stable=True)[:_PERSONS].tolist()
    return {kind: candidates[rows].tolist() for kind, rows in chosen.items()}


def draw_persons(found: PhotoEvaluation, source: PersonSource) -> list[Figure]:
    """Draw the chosen persons with their poses on the photos of ``source``, the persons that were evaluated."""
    names, figures, skeleton = list(found.poses), [], found.table.labels.skeleton
    legend = _SPACE_LEGEND.format(first=names[0]) if found.is_3d else _FLAT_LEGEND.format(models=" and ".join(names))
    size, measure = found.space.crop_size, "error" if found.is_3d else "similarity (OKS)"
    for kind, rows in choose_rows(found).items():
        what = "The most hidden joints." if kind == "hidden" else f"Persons with {kind} {measure} of {names[0]}."
        persons = [person_panels(found, source, row) for row in rows]
        columns = len(persons[0]) * (2 if len(rows) > 1 else 1)
        picture = pose_gallery([panel for person in persons for panel in person], skeleton, columns, _SIZE, size)
        figures.append(Figure.of(picture, f"{what} {legend}", kind))
    return figures


def person_panels(found: PhotoEvaluation, source: PersonSource, row: int) -> list[PosePanel]:
    """Return the panels of a person on a photo, in pixels of the crop: the labels, then each model's pose.

    In space it is one panel: the first model's pose over the true one, beside the photo.
    """
    table, space, person = found.table, found.space, source[int(found.table.rows[row])]
    side, first = _SIZE if found.is_3d else space.crop_size, next(iter(found.poses))
    image = plain_crop(person.bbox, space.crop_space, (side, side)).warp(person.image)
    if found.is_3d:
        truth, pose = table.truth(space)[row], found.poses[first].keypoints[row]
        layers = (PoseLayer(truth, None, TARGET), PoseLayer(pose, None, COLOURED))
        error = -float(found.quality(first)[row])
        return [PosePanel(layers, f"photo {person.image_id}, MPJPE {error:.0f} mm", image)]
    bbox, visibility, crop = table.labels.bbox[row : row + 1], table.visibility[row], space.report_space
    target = crop.normalise(table.labels.keypoints[row : row + 1], bbox)[0]
    seen, hidden = ((visibility == flag).sum().item() for flag in (2, 1))
    # Nothing is drawn where there is no label.
    labels = PoseLayer(torch.where(visibility[:, None] > 0, target, torch.nan), visibility == 2)
    panels = [PosePanel((labels,), f"photo {person.image_id}\n{seen} seen, {hidden} hidden", image)]
    for name, poses in found.poses.items():
        layer = PoseLayer(crop.normalise(poses.keypoints[row : row + 1], bbox)[0], None, COLOURED)
        panels.append(PosePanel((layer,), f"{name}\nOKS {float(found.quality(name)[row]):.2f}", image))
    return panels
