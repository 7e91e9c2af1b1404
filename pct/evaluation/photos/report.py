"""The report on models that read photos: its sections, side by side for all models, in 2D and in 3D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pct.drawing import plots
from pct.drawing.panels import PosePanel, pose_gallery
from pct.drawing.poses2d import COLOURED, TARGET, PoseLayer
from pct.evaluation.blocks import (
    AP,
    SPACE,
    SPACE_WORDS,
    Column,
    choose_examples,
    columns,
    joint_table,
    make_cards,
    make_table,
    show,
    under,
)
from pct.evaluation.photos.evaluate import PhotoEvaluation
from pct.evaluation.report import Block, Figure, Report, Section, Table
from pct.photos.crop import plain_crop
from pct.photos.persons import PersonSource

Models = Mapping[str, Mapping[str, Any]]
_FORMS = (
    "The expected pose decodes the mixture of the codebook's entries; the most likely tokens and one sample decode "
    "integers. True tokens are those of the labels: what the tokenizer itself loses. All are ranked by the same scores."
)
_HITS = (
    "{name}: the likeliest token is the true pose's own in {top1:.1%}, and the true one is among the five likeliest in "
    "{top5:.1%}."
)
_HIDDEN = (
    "{num_occluded:,} of the {num_joints:,} joints are labelled but hidden (visibility 1). For their AP no other joint "
    "is labelled for the evaluator, and persons without a hidden joint are left out. Errors are distances from the "
    "labels in pixels of a {crop_size} px crop."
)
_DETECTED = (
    "{num_detections:,} boxes of a detector. The score of a pose is its box's times that in the annotated boxes; poses "
    "with an OKS above 0.9 to a better one are taken out; the evaluator takes the 20 best of a photo."
)
_SHARES = {
    "pck_torso": (
        "PCK@0.2",
        "Share of the joints within 0.2 of the torso's length, from left shoulder to right hip, of their label; "
        "persons without both labels do not count.",
    ),
    "pckh": (
        "PCKh@0.5",
        "Share of the joints within half a head size of their label. The mean is over all labelled joints but pelvis "
        "and thorax, as MPII's tables have it.",
    ),
}
_CONFIDENCE = (
    "A joint's confidence is the keypoint similarity that is to be expected of it (in space exp(-d² / 2 s²) of an "
    "error d, s = 100 mm). The expected calibration error (ECE) is the distance of promised from reached similarity in "
    "15 bins of equal width, averaged over the joints. Constants fitted on other persons: {fitted}."
)
_METHOD = (
    "AP and AR are computed by pycocotools. In the annotated boxes there is one pose a person, whose score is the mean "
    "confidence of its joints, each weighed by itself; of heatmaps, as usual, of the joints above 0.2. Time is that of "
    "reading the photo and of the model, in batches. All numbers are in `metrics.json` beside this page."
)
_AP_ERRORS = [
    *columns("{:.2f}", "mean OKS: mean_oks; median error px: error/median; mean: error/mean"),
    *columns("{:.2f}", "seen joints: seen_error/mean; hidden joints: occluded_error/mean"),
    ("ms a photo", "ms_per_photo", "{:.1f}"),
]
_SPACE_ERRORS = columns(
    "{:.1f}", "seen: seen_error/mean; hidden: occluded_error/mean; outside the photo: outside_error/mean"
)
_FORMS_ON_PHOTOS = [
    *under("coco", AP),
    *columns("{:.1%}", "AP hidden: occluded/ap"),
    *columns("{:.2f}", "median error px: error/median"),
]
_CARDS = {
    False: columns("{:.1%}", "AP of {} (COCO's evaluator): coco/ap; AP of {} over hidden joints only: occluded/ap"),
    True: columns("{:.1f} mm", "MPJPE of {}: mpjpe; P-MPJPE of {}: p_mpjpe"),
}
_ECE = columns("{:.3f}", "calibration error of {}: calibration/ece")
_PERSONS, _SIZE = 4, 232
_FLAT_LEGEND = (
    "Left of each group the labels, hollow where the joint is hidden; then the poses of {models}. The person's left "
    "side is orange, the right side blue."
)
_SPACE_LEGEND = (
    "Each photo, then the pose of {first} as the camera sees it and turned, on the true pose in grey; the person's "
    "left side is orange, the right side blue, the grid's step half a metre."
)


def photo_report(found: PhotoEvaluation, source: PersonSource) -> Report:
    """Return the report on what was measured, its pictures drawn.

    Args:
        found: What was measured.
        source: The persons, whose photos are drawn on.
    """
    numbers = found.numbers
    models: Models = numbers["models"]
    # Beside each model's numbers those of the first form of its poses, which people get.
    main = {name: {**result, **next(iter(result["poses"].values()))} for name, result in models.items()}
    joints = [joint_table(row["joints"], numbers["unit"], name) for name, row in main.items()]
    cards = [*_CARDS[found.is_3d], *_ECE]
    return Report(
        f"{'3D poses' if found.is_3d else 'Poses'} read off photos",
        [card for name, row in main.items() for card in make_cards(row, cards, name)],
        [
            Section("Accuracy", _space_accuracy(main) if found.is_3d else _image_accuracy(main, numbers)),
            *_forms(models, SPACE if found.is_3d else _FORMS_ON_PHOTOS),
            Section("On photos", draw_persons(found, source)),
            Section("Joint by joint", joints),
            Section("Confidence", _confidence(models)),
            Section("How it was measured", [_METHOD]),
        ],
        numbers,
        f"{numbers['num_persons']:,} persons on {numbers['num_images']:,} photos",
        "annotated boxes, " + ("mean over the photo and its mirror image" if numbers["flip"] else "no flip test"),
        {
            name: f"{r['model']}; fingerprint {r['fingerprint']}; {r['seconds']:.1f} s, {r['ms_per_photo']:.1f} ms "
            "a photo with reading it"
            for name, r in models.items()
        },
    )


def _image_accuracy(main: Models, numbers: Mapping[str, Any]) -> list[Block]:
    blocks: list[Block] = [
        make_table(main, under("coco", AP), caption="All labelled joints", highlight=1),
        _HIDDEN.format(**numbers),
        make_table(main, under("occluded", AP), caption="Hidden joints only", highlight=1),
        make_table(main, _AP_ERRORS, caption="Errors"),
    ]
    if detected := {name: row["detected"] for name, row in main.items() if "detected" in row}:
        blocks += [_DETECTED.format(**numbers), make_table(detected, AP, caption="Detected boxes", highlight=1)]
    for key, (caption, words) in _SHARES.items():
        shares = {name: row[key] for name, row in main.items() if row.get(key) is not None}
        if any(values["mean"] is not None for values in shares.values()):
            joints = sorted(next(iter(shares.values())), key=lambda joint: joint != "mean")
            rows = [[j.replace("_", " "), *(show(v[j], "{:.1%}") for v in shares.values())] for j in joints]
            blocks += [words, Table(["", *shares], rows, caption=caption)]
    return blocks


def _space_accuracy(main: Models) -> list[Block]:
    words = f"{SPACE_WORDS} The last columns are mean errors in mm by how the photo shows a joint, without the root."
    return [words, make_table(main, [*SPACE, *_SPACE_ERRORS], highlight=1)]


def _forms(models: Models, shown: Sequence[Column]) -> list[Section]:
    """Return the section on expected poses, most likely ids, samples and true ids; none without tokens."""
    blocks: list[Block] = []
    for name, result in models.items():
        if (hits := result["tokens"]) is not None:
            words = _HITS.format(name=name, **hits)
            blocks += [words, make_table(result["poses"], shown, caption=name, highlight=1)]
    return [Section("Forms of the pose", [_FORMS, *blocks])] if blocks else []


def _confidence(models: Models) -> list[Block]:
    fitted = [
        f"{name}: " + (", ".join(f"{key} {value:.3g}" for key, value in (row["fitted"] or {}).items()) or "none")
        for name, row in models.items()
    ]
    curves = {}
    for name, row in models.items():
        if (ece := row["calibration"]["ece"]) is not None:
            bins = [b for b in row["calibration"]["bins"] if b["count"]]
            curves[f"{name}: ECE {ece:.3f}"] = [(b["confidence"], b["similarity"], b["count"]) for b in bins]
    blocks: list[Block] = [_CONFIDENCE.format(fitted="; ".join(fitted))]
    if curves:
        caption = (
            "Confidence of the joints against the similarity that they reach: on the dashed line a model is as good as "
            "it says, below it is too sure of itself. The bars show how many joints have such a confidence."
        )
        blocks.append(Figure.of(plots.plot_calibration(curves), caption, "calibration"))
    return blocks


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
        across = len(persons[0]) * (2 if len(rows) > 1 else 1)
        picture = pose_gallery([panel for person in persons for panel in person], skeleton, across, _SIZE, size)
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
        truth, pose = table.labels.keypoints[row], found.poses[first].keypoints[row]
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
