"""The report on models that read photos: its sections, side by side for all models, in 2D and in 3D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pct.drawing import plots
from pct.drawing.panels import PosePanel, pose_gallery
from pct.drawing.poses2d import COLOURED, TARGET, PoseLayer
from pct.evaluation.blocks import (
    AP_NAMES,
    SPACE_NAMES,
    SPACE_WORDS,
    ap_cells,
    ap_table,
    choose_examples,
    format_number,
    format_percent,
    joint_table,
    space_cells,
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
    "confidence of its joints; of heatmaps, as usual, of the joints above 0.2. Time is that of reading the photo and "
    "of the model, in batches. All numbers are in `metrics.json` beside this page."
)
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
    joints = [joint_table(result["joints"], numbers["unit"], name) for name, result in models.items()]
    return Report(
        f"{'3D poses' if found.is_3d else 'Poses'} read off photos",
        _cards(models, found.is_3d),
        [
            Section("Accuracy", _space_accuracy(models) if found.is_3d else _image_accuracy(numbers)),
            *_forms(models, found.is_3d),
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


def _main(models: Models) -> Models:
    """Return the scores of the poses that people get, by model."""
    return {name: next(iter(result["poses"].values())) for name, result in models.items()}


def _cards(models: Models, is_3d: bool) -> list[tuple[str, str]]:
    cards = []
    for name, scores in _main(models).items():
        if is_3d:
            cards += [(f"{scores[key]:.1f} mm", f"{SPACE_NAMES[key]} of {name}") for key in ("mpjpe", "p_mpjpe")]
        else:
            cards.append((format_percent(scores["coco"]["ap"]), f"AP of {name} (COCO's evaluator)"))
            cards.append((format_percent(scores["occluded"]["ap"]), f"AP of {name} over hidden joints only"))
        cards.append((format_number(models[name]["calibration"]["ece"], 3), f"calibration error of {name}"))
    return cards


def _image_accuracy(numbers: Mapping[str, Any]) -> list[Block]:
    models: Models = numbers["models"]
    main = _main(models)
    errors = []
    for name, scores in main.items():
        means = [scores[kind]["mean"] for kind in ("error", "seen_error", "occluded_error")]
        cells = map(format_number, (scores["mean_oks"], scores["error"]["median"], *means))
        errors.append([name, *cells, f"{models[name]['ms_per_photo']:.1f} ms"])
    header = ["", "mean OKS", "median error px", "mean", "seen joints", "hidden joints", "time a photo"]
    blocks: list[Block] = [
        ap_table({name: scores["coco"] for name, scores in main.items()}, "All labelled joints"),
        _HIDDEN.format(**numbers),
        ap_table({name: scores["occluded"] for name, scores in main.items()}, "Hidden joints only"),
        Table(header, errors, caption="Errors"),
    ]
    if detected := {name: result["detected"] for name, result in models.items() if "detected" in result}:
        blocks += [_DETECTED.format(**numbers), ap_table(detected, "Detected boxes")]
    for key, (name, words) in _SHARES.items():
        shares = {model: result[key] for model, result in models.items() if result.get(key) is not None}
        if any(values["mean"] is not None for values in shares.values()):
            joints = sorted(next(iter(shares.values())), key=lambda joint: joint != "mean")
            rows = [[j.replace("_", " "), *(format_percent(v[j]) for v in shares.values())] for j in joints]
            blocks += [words, Table(["", *shares], rows, caption=name)]
    return blocks


def _space_accuracy(models: Models) -> list[Block]:
    kinds = {"seen": "seen_error", "hidden": "occluded_error", "outside the photo": "outside_error"}
    rows = [
        [name, *space_cells(scores), *(format_number(models[name][key]["mean"], 1) for key in kinds.values())]
        for name, scores in _main(models).items()
    ]
    words = f"{SPACE_WORDS} The last columns are mean errors in mm by how the photo shows a joint, without the root."
    return [words, Table(["", *SPACE_NAMES.values(), *kinds], rows, highlight=1)]


def _forms(models: Models, is_3d: bool) -> list[Section]:
    """Return the section on expected poses, most likely ids, samples and true ids; none without tokens."""
    blocks: list[Block] = [_FORMS]
    for name, result in models.items():
        if result["tokens"] is None:
            continue
        hits = [format_percent(result["tokens"][key]) for key in ("top1", "top5")]
        header = ["", *SPACE_NAMES.values()] if is_3d else ["", *AP_NAMES.values(), "AP hidden", "median error px"]
        rows = [
            [form, *space_cells(scores)]
            if is_3d
            else [
                *(form, *ap_cells(scores["coco"]), format_percent(scores["occluded"]["ap"])),
                format_number(scores["error"]["median"]),
            ]
            for form, scores in result["poses"].items()
        ]
        blocks += [
            f"{name}: the likeliest token is the true pose's own in {hits[0]}, and the true one is among the five "
            f"likeliest in {hits[1]}.",
            Table(header, rows, highlight=1, caption=name),
        ]
    return [Section("Forms of the pose", blocks)] if len(blocks) > 1 else []


def _confidence(models: Models) -> list[Block]:
    fitted = {
        name: ", ".join(f"{key} {value:.3g}" for key, value in result["fitted"].items()) if result["fitted"] else "none"
        for name, result in models.items()
    }
    curves = {
        f"{name}: ECE {result['calibration']['ece']:.3f}": [
            (b["confidence"], b["similarity"], b["count"]) for b in result["calibration"]["bins"] if b["count"]
        ]
        for name, result in models.items()
        if result["calibration"]["ece"] is not None
    }
    blocks: list[Block] = [_CONFIDENCE.format(fitted="; ".join(f"{name}: {text}" for name, text in fitted.items()))]
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
