"""The pictures of a report on models of photos: poses on photos, and plots of AP, body parts and calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pct import plots
from pct.evaluation.figures import ReportFigure
from pct.evaluation.photo_examples import PhotoExample, hide_unlabelled
from pct.evaluation.photo_results import ModelResult, PhotoEvaluation
from pct.skeleton import Skeleton
from pct.visualize import COLOURED, FAINT, PoseLayer, PosePanel, pose_gallery

_SIZE = 232
_LEGEND = (
    "Left of each group the labels, hollow where the joint is hidden; then the poses of {models}. The person's left "
    "side is orange, the right side blue."
)
_CAPTIONS = {
    "typical": "Typical persons: the median similarity (OKS) of {first}.",
    "occluded": "The persons with the most hidden joints.",
    "worst": "The persons with the lowest similarity of {first}.",
    "best": "The persons with the highest similarity of {first}.",
    "better": "Where {first} beats {second} most.",
    "worse": "Where {first} loses to {second} most.",
}
_THIN_SAMPLES = " The thin poses are samples of the tokens: where they spread, the model is not sure."


def draw_photo_figures(
    evaluation: PhotoEvaluation, examples: Mapping[str, Sequence[PhotoExample]]
) -> dict[str, ReportFigure]:
    """Draw all pictures of a report, by file name without suffix."""
    names = list(evaluation.models)
    words = {"first": names[0], "second": names[-1], "models": " and ".join(names)}
    figures = {}
    for kind, persons in examples.items():
        panels = [panel for person in persons for panel in _panels(person)]
        samples = _THIN_SAMPLES if any(person.samples for person in persons) else ""
        caption = f"{_CAPTIONS[kind]} {_LEGEND}".format(**words) + samples
        columns = (1 + len(names)) * (2 if len(persons) > 1 else 1)
        picture = pose_gallery(panels, evaluation.skeleton, columns, evaluation.crop_size, _SIZE)
        figures[kind] = ReportFigure.of(picture, caption)
    return figures | _draw_plots(evaluation.models, evaluation.skeleton)


def _panels(person: PhotoExample) -> list[PosePanel]:
    """Return the panels of a person: labels, then each model."""
    seen, hidden = ((person.visibility == flag).sum().item() for flag in (2, 1))
    labels = PoseLayer(hide_unlabelled(person.target_keypoints, person.visibility), person.visibility == 2)
    # Bright enough to be seen on dark photos, and dull enough not to outshine the pose.
    faint = replace(FAINT, left=(255, 205, 150), right=(165, 212, 255), middle=(225, 225, 230))
    panels = [PosePanel((labels,), f"photo {person.image_id}\n{seen} seen, {hidden} hidden", person.image)]
    for name, keypoints in person.keypoints.items():
        layers = [PoseLayer(sample, None, faint) for sample in person.samples.get(name, ())]
        layers.append(PoseLayer(keypoints, None, COLOURED))
        panels.append(PosePanel(tuple(layers), f"{name}\nOKS {person.oks[name]:.2f}", person.image))
    return panels


def _draw_plots(models: Mapping[str, ModelResult], skeleton: Skeleton) -> dict[str, ReportFigure]:
    precision = {
        "All labelled joints": {name: result.main.coco.by_threshold for name, result in models.items()},
        "Hidden joints only": {name: result.main.occluded.by_threshold for name, result in models.items()},
    }
    parts = {
        name: [None if (ap := result.parts[part].ap) is None else 100 * ap for part in skeleton.parts]
        for name, result in models.items()
    }
    curves = {
        f"{name}: ECE {result.calibration.ece:.3f}": [
            (b.confidence, b.similarity, b.count)
            for b in result.calibration.bins
            if b.confidence is not None and b.similarity is not None
        ]
        for name, result in models.items()
        if result.calibration.ece is not None
    }
    figures = {
        "thresholds": ReportFigure.of(
            plots.plot_thresholds({title: values for title, values in precision.items() if any(values.values())}),
            "AP at each OKS threshold: on the left poses that are roughly right count, on the right only precise ones.",
        ),
        "parts": ReportFigure.of(
            plots.plot_bars(list(skeleton.parts), parts, "AP (%)"),
            "AP over the joints of one body part only; no other joint is labelled for the evaluator.",
        ),
    }
    if curves:
        figures["calibration"] = ReportFigure.of(
            plots.plot_calibration(curves),
            "Confidence of the joints against the keypoint similarity that they reach: on the dashed line a model is "
            "as good as it says, below it is too sure of itself. The bars show how many joints have such a confidence.",
        )
    return figures
