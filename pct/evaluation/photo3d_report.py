"""The report on classifiers of photos whose tokens are of 3D poses: results.json, pictures and a page."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
from torch import Tensor

from pct import plots
from pct.data.persons3d import Persons3D
from pct.data.photo_crop import plain_crop
from pct.data.photos import CocoPersons, PersonSource
from pct.evaluation.figures import ReportFigure
from pct.evaluation.metrics3d import mpjpe
from pct.evaluation.page_parts import (
    cards_html,
    facts_html,
    figure_html,
    format_percent,
    notes_html,
    table_html,
    whole_page,
)
from pct.evaluation.photo3d_evaluate import BodyEvaluation, evaluate_bodies
from pct.evaluation.photo_evaluate import EvaluatedPoses
from pct.evaluation.photo_metrics import JOINT_SCALE_MM
from pct.evaluation.photo_predictions import PredictionOptions
from pct.evaluation.report_folder import ReportFolder
from pct.models.classifier import PoseClassifier
from pct.pose_space import PoseSpace
from pct.visualize import COLOURED, TARGET, PoseLayer, picture_gallery
from pct.visualize3d import FRONT, TURNED, draw_pose_3d

_FOLDER = ReportFolder("results.json")
_PERSONS, _SIZE = 4, 232
_CAPTIONS = {
    "typical": "Typical persons: the median error of {first}.",
    "hidden": "The persons with the most joints that are hidden or outside the photo.",
    "worst": "The persons with the largest error of {first}.",
    "best": "The persons with the smallest error of {first}.",
}
_LEGEND = (
    "Each photo, then the pose of {first} as the camera sees it and turned, on the true pose in grey; the person's "
    "left side is orange, the right side blue, the grid's step half a metre."
)


def run_body_evaluation(
    models: Mapping[str, PoseClassifier],
    annotations_path: str | Path,
    image_folder: str | Path,
    out_dir: str | Path,
    *,
    options: PredictionOptions | None = None,
    limit: int | None = None,
    force: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
    report: Callable[[str], None] | None = None,
) -> tuple[BodyEvaluation, Path]:
    """Evaluate models of 3D poses on a COCO-format file whose persons have 3D joints, and write the report.

    Args:
        models: By the name that the report calls them.
        annotations_path: COCO-format file with ``keypoints3d`` and ``camera``, as tools/make_people.py writes it.
        image_folder: Folder of its photos.
        out_dir: Folder of the report; made if it does not exist.
        options: Flip test, samples, batches.
        limit: At most so many persons, the first ones.
        force: Whether an earlier report there may be replaced.
        progress: Called with the name of a stage, how much of it was just done, and its length.
        report: Called with a sentence for what is skipped; by default a warning.

    Returns:
        The numbers, and the path of the page.

    Raises:
        FileExistsError: If ``out_dir`` holds a report and ``force`` is not set.
        ValueError: If persons and models do not fit together, or the file is broken or knows no 3D joints.
    """
    folder = _FOLDER.check(out_dir, force)
    skipped: list[str] = []

    def say(sentence: str) -> None:
        skipped.append(sentence)
        (report or warnings.warn)(sentence)

    persons = CocoPersons(annotations_path, image_folder, report=say, need_3d=True)
    source = Persons3D(persons, next(iter(models.values())).tokenizer.skeleton)
    data = "/".join(Path(annotations_path).parts[-2:])
    evaluation, poses = evaluate_bodies(models, source, options, limit=limit, data=data, progress=progress, report=say)
    notes = [f"Only the first {limit:,} persons of the file were evaluated."] if limit and limit < len(source) else []
    if skipped:
        notes.append(f"{len(skipped):,} persons or photos were skipped; the first: {skipped[0]}")
    evaluation = replace(evaluation, provenance=replace(evaluation.provenance, notes=notes))
    figures = draw_body_figures(evaluation, poses, source)
    page = render_body_page(evaluation, figures)
    return evaluation, _FOLDER.write(folder, evaluation.to_dict(), figures, page, force)


def choose_bodies(poses: EvaluatedPoses, errors: Tensor) -> dict[str, list[int]]:
    """Choose rows of the table by what they show: ``typical``, ``hidden``, ``worst``, ``best`` of errors (N,)."""
    order = errors.argsort(stable=True)
    middle = max(0, len(order) // 2 - _PERSONS // 2)
    unseen = (poses.table.visibility != 2).sum(dim=1).argsort(descending=True, stable=True)
    return {
        "typical": order[middle : middle + _PERSONS].tolist(),
        "hidden": unseen[:_PERSONS].tolist(),
        "worst": order.flip(0)[:_PERSONS].tolist(),
        "best": order[:_PERSONS].tolist(),
    }


def draw_body_figures(
    evaluation: BodyEvaluation, poses: EvaluatedPoses, source: PersonSource
) -> dict[str, ReportFigure]:
    """Draw all pictures of a report, by file name without suffix; poses are those of the first model."""
    name, model = next(iter(poses.models.items()))
    skeleton = evaluation.skeleton
    truth = poses.table.bodies(skeleton, evaluation.root)
    errors = mpjpe(model.keypoints, truth, root=evaluation.root)
    figures = {}

    def draw(row: int) -> np.ndarray:
        person = source[int(poses.table.rows[row])]
        crop = plain_crop(person.bbox, PoseSpace(), (_SIZE, _SIZE)).warp(person.image)
        layers = [PoseLayer(truth[row], None, TARGET), PoseLayer(model.keypoints[row], None, COLOURED)]
        return np.hstack([crop, *(draw_pose_3d(layers, skeleton, view, _SIZE) for view in (FRONT, TURNED))])

    for kind, rows in choose_bodies(poses, errors).items():
        captions = [
            f"photo {int(poses.table.labels.image_ids[row])}, MPJPE {float(errors[row]):.0f} mm" for row in rows
        ]
        picture = picture_gallery([draw(row) for row in rows], captions, columns=2)
        figures[kind] = ReportFigure.of(picture, f"{_CAPTIONS[kind]} {_LEGEND}".format(first=name))
    curves = {
        f"{name}: ECE {result.calibration.ece:.3f}": [
            (b.confidence, b.similarity, b.count)
            for b in result.calibration.bins
            if b.confidence is not None and b.similarity is not None
        ]
        for name, result in evaluation.models.items()
    }
    figures["calibration"] = ReportFigure.of(
        plots.plot_calibration(curves),
        "Confidence of the joints against the similarity that they reach: on the dashed line a model is as good as it "
        "says. The bars show how many joints have such a confidence.",
    )
    return figures


def render_body_page(evaluation: BodyEvaluation, figures: Mapping[str, ReportFigure]) -> str:
    """Return the HTML of a report."""
    about, models = evaluation.provenance, evaluation.models
    cards = [(_mm(result.main.mpjpe), f"MPJPE of {name}") for name, result in models.items()]
    cards += [(_mm(result.main.p_mpjpe), f"P-MPJPE of {name}") for name, result in models.items()]
    cards += [
        (f"{result.calibration.ece:.3f}", f"expected calibration error of the confidence of {name}")
        for name, result in models.items()
    ]
    boxes = "annotated boxes, " + ("mean over the photo and its mirror image" if evaluation.flip else "no flip test")
    head = (
        f'<h1>3D poses read off photos</h1><p class="lead">{evaluation.num_persons:,} persons on '
        f"{evaluation.num_images:,} photos of <code>{escape(about.data)}</code>, {boxes}, "
        f'<span class="whole">{escape(about.date[:10])}</span>.</p>{cards_html(cards)}{notes_html(about.notes)}'
    )
    pictures = "".join(figure_html(figures, kind) for kind in _CAPTIONS)
    facts = [("Data", f"{about.data}: {evaluation.num_persons:,} persons on {evaluation.num_images:,} photos")]
    facts += [(name, f"{r.model}; fingerprint {r.fingerprint}; {r.seconds:.1f} s") for name, r in models.items()]
    facts += [("Command", about.command), ("Hardware", about.hardware), ("Software", about.software)]
    facts += [("Date", f"{about.date}; the evaluation took {about.seconds:g} seconds"), ("Seed", str(about.seed))]
    sections = [head, _accuracy(evaluation), _joints(evaluation), f"<h2>On photos</h2>{pictures}"]
    sections += [_confidence(figures), f"<h2>How it was measured</h2>{facts_html(facts)}"]
    return whole_page(f"3D poses from photos: {', '.join(models)}", sections)


def _accuracy(evaluation: BodyEvaluation) -> str:
    root = evaluation.skeleton.keypoint_names[evaluation.root]
    text = (
        "<h2>Accuracy</h2><p>Joints of each pose, true or found, are taken from its own "
        f"{escape(root)} in the camera's axes; means are over all joints, the {escape(root)} included. P-MPJPE is "
        "after the best rotation, shift and scale of each pose, N-MPJPE after the best scale. PCK counts joints nearer "
        "than 150 mm, AUC is its mean from 0 to 150 mm. The expected pose decodes the mixture of the codebook's "
        "entries, the most likely tokens and one sample decode integers; true tokens are those of the labels: what the "
        "tokenizer itself loses.</p>"
    )
    header = ["", "MPJPE", "median", "P-MPJPE", "N-MPJPE", "PCK", "AUC"]
    for name, result in evaluation.models.items():
        rows = [
            [form, *map(_mm, (s.mpjpe, s.median, s.p_mpjpe, s.n_mpjpe)), *map(format_percent, (s.pck, s.auc))]
            for form, s in result.poses.items()
        ]
        kinds = (("seen", result.seen_error), ("hidden", result.hidden_error), ("outside", result.outside_error))
        places = "; ".join(f"{_mm(error.mean)} of the {error.count:,} {kind}" for kind, error in kinds)
        text += (
            f"<h3>{escape(name)}</h3><p>The likeliest token is the true pose's own in "
            f"{format_percent(result.tokens.top1)}, and the true one is among the five likeliest in "
            f"{format_percent(result.tokens.top5)}. Mean errors of joints by how the photo shows them: {places}.</p>"
            f"{table_html(header, rows, highlight=1)}"
        )
    return text


def _joints(evaluation: BodyEvaluation) -> str:
    header = ["joint", *(f"{kind} {name}" for name in evaluation.models for kind in ("mean", "median", "unseen"))]
    rows = []
    for i, name in enumerate(evaluation.skeleton.keypoint_names):
        joints = [result.joints[i] for result in evaluation.models.values()]
        values = [v for j in joints for v in (j.error.mean, j.error.median, j.unseen_error.mean)]
        rows.append([name.replace("_", " "), *map(_mm, values)])
    return (
        "<h2>Joint by joint</h2><p>Unseen joints are hidden or outside the photo: their mean error.</p>"
        f"{table_html(header, rows)}"
    )


def _confidence(figures: Mapping[str, ReportFigure]) -> str:
    return (
        "<h2>Confidence</h2><p>A joint's confidence is the similarity that is to be expected of it: "
        f"exp(-d&sup2; / 2 s&sup2;) of an error d, with s = {JOINT_SCALE_MM:.0f} mm for all joints. It comes from the "
        f"spread of sampled poses.</p>{figure_html(figures, 'calibration')}"
    )


def _mm(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} mm"
