"""The page of a report on models of photos: its sections, side by side for all models."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from pct.evaluation.figures import ReportFigure
from pct.evaluation.metrics import CocoAP
from pct.evaluation.page_parts import (
    cards_html,
    facts_html,
    figure_html,
    format_number,
    format_percent,
    notes_html,
    table_html,
    whole_page,
)
from pct.evaluation.photo_results import EXPECTED, LIKELY, ModelResult, PhotoEvaluation
from pct.models.photo_config import Calibration

_AP_HEADER = ["AP", "AP50", "AP75", "AP medium", "AP large", "AR", "AR50", "AR75"]


def render_photo_page(evaluation: PhotoEvaluation, figures: Mapping[str, ReportFigure]) -> str:
    """Return the HTML of a report.

    Args:
        evaluation: What was measured.
        figures: The pictures by name; those that are absent are left out.
    """
    sections = [
        _headline(evaluation),
        _accuracy(evaluation, figures),
        _forms(evaluation),
        _photos(figures),
        _parts(evaluation, figures),
        _confidence(evaluation, figures),
        _method(evaluation),
    ]
    return whole_page(f"Poses from photos: {', '.join(evaluation.models)}", [s for s in sections if s])


def _headline(evaluation: PhotoEvaluation) -> str:
    cards = []
    for name, result in evaluation.models.items():
        cards.append((format_percent(result.main.coco.ap), f"AP of {name} (COCO's evaluator)"))
    for name, result in evaluation.models.items():
        cards.append((format_percent(result.main.occluded.ap), f"AP of {name} over hidden joints only"))
    for name, result in evaluation.models.items():
        if result.calibration.ece is not None:
            cards.append((f"{result.calibration.ece:.3f}", f"expected calibration error of the confidence of {name}"))
    about = evaluation.provenance
    persons = f"{evaluation.num_persons:,} persons on {evaluation.num_images:,} photos"
    boxes = "annotated boxes, " + ("mean over the photo and its mirror image" if evaluation.flip else "no flip test")
    return (
        f'<h1>Poses read off photos</h1><p class="lead">{persons} of <code>{escape(about.data)}</code>, {boxes}, '
        f'<span class="whole">{escape(about.date[:10])}</span>.</p>{cards_html(cards)}{notes_html(about.notes)}'
    )


def _accuracy(evaluation: PhotoEvaluation, figures: Mapping[str, ReportFigure]) -> str:
    models = evaluation.models
    everything = _ap_table({name: result.main.coco for name, result in models.items()})
    hidden = _ap_table({name: result.main.occluded for name, result in models.items()})
    header = ["", "mean OKS", "median error", "mean error", "seen joints", "hidden joints"]
    errors = table_html(
        header,
        [
            [
                name,
                format_number(result.main.mean_oks),
                *(
                    f"{format_number(value)} px"
                    for value in (
                        result.main.error.median,
                        result.main.error.mean,
                        result.main.seen_error.mean,
                        result.main.occluded_error.mean,
                    )
                ),
            ]
            for name, result in models.items()
        ],
    )
    share = evaluation.num_occluded / max(1, evaluation.num_joints)
    detected = {name: result.detected for name, result in models.items() if result.detected is not None}
    more = ""
    if detected:
        more = (
            f"<h3>Detected boxes</h3><p>{evaluation.num_detections:,} boxes of a detector. The score of a pose is its "
            "box's times that in the annotated boxes; poses with an OKS above 0.9 to a better one are taken "
            f"out; the evaluator takes the 20 best of a photo.</p>{_ap_table(detected)}"
        )
    return (
        f"<h2>Accuracy</h2><h3>All labelled joints</h3>{everything}<h3>Hidden joints only</h3>"
        f"<p>{evaluation.num_occluded:,} of the {evaluation.num_joints:,} joints ({format_percent(share)}) "
        "are labelled but hidden (visibility 1). Here no other joint is labelled for the evaluator, and persons "
        f"without a hidden joint are left out.</p>{hidden}<h3>Errors</h3><p>Distances from the labels in pixels of a "
        f"{evaluation.crop_size} px crop.</p>{errors}{figure_html(figures, 'thresholds')}{more}{_pckh(models)}"
    )


def _ap_table(results: Mapping[str, CocoAP]) -> str:
    values = {name: _ap_values(coco) for name, coco in results.items()}
    rows = [[name, *map(format_percent, row)] for name, row in values.items()]
    if len(values) == 2:
        first, second = values.values()
        rows.append(["difference", *(_format_gap(a, b) for a, b in zip(first, second, strict=True))])
    return table_html(["", *_AP_HEADER], rows, highlight=1)


def _ap_values(coco: CocoAP) -> list[float | None]:
    return [coco.ap, coco.ap50, coco.ap75, coco.ap_medium, coco.ap_large, coco.ar, coco.ar50, coco.ar75]


def _format_gap(value: float | None, other: float | None) -> str:
    """Return how much more the first one is, in per cent points."""
    # Adding 0 turns -0.0 into 0.0.
    return "–" if value is None or other is None else f"{round(100 * (value - other), 1) + 0.0:+.1f}"


def _pckh(models: Mapping[str, ModelResult]) -> str:
    tables = {name: result.pckh for name, result in models.items() if result.pckh is not None}
    if not tables:
        return ""
    joints = list(next(iter(tables.values())))
    rows = [[joint.replace("_", " "), *(format_percent(table[joint]) for table in tables.values())] for joint in joints]
    return (
        "<h3>PCKh@0.5</h3><p>Share of the joints that lie within half a head size of their label. The mean is over all "
        f"labelled joints but pelvis and thorax, as MPII's tables have it.</p>{table_html(['', *tables], rows)}"
    )


def _forms(evaluation: PhotoEvaluation) -> str:
    text = ""
    for name, result in evaluation.models.items():
        if result.tokens is None:
            continue
        rows = [
            [
                form,
                *(format_percent(value) for value in (score.coco.ap, score.coco.ap75, score.occluded.ap)),
                f"{score.mean_oks:.3f}",
                f"{format_number(score.error.median)} px",
                f"{format_number(score.error.mean)} px",
            ]
            for form, score in result.poses.items()
        ]
        table = table_html(["", "AP", "AP75", "AP hidden", "mean OKS", "median error", "mean error"], rows)
        expected, likely = result.poses[EXPECTED].coco.ap, result.poses[LIKELY].coco.ap
        text += (
            f"<h3>{escape(name)}</h3><p>The likeliest token is the true pose's own in "
            f"{format_percent(result.tokens.top1)}, and the true one is among the five likeliest in "
            f"{format_percent(result.tokens.top5)}. The poses of the most likely integer tokens are those that can be "
            f"stored; their AP differs from the expected pose's by {_format_gap(likely, expected)}.</p>{table}"
        )
    if not text:
        return ""
    return (
        "<h2>Forms of the pose</h2><p>The expected pose decodes the mixture of the codebook's entries, the most likely "
        "tokens and one sample decode integers. True tokens are those of the labels: what the tokenizer itself loses. "
        "The top of the heatmap is where the head itself sees a joint before any token. "
        f"All forms are ranked by the same scores.</p>{text}"
    )


def _photos(figures: Mapping[str, ReportFigure]) -> str:
    kinds = ("typical", "occluded", "better", "worse", "worst", "best")
    pictures = "".join(figure_html(figures, kind) for kind in kinds)
    return f"<h2>On photos</h2>{pictures}" if pictures else ""


def _parts(evaluation: PhotoEvaluation, figures: Mapping[str, ReportFigure]) -> str:
    models = evaluation.models
    header = [""]
    for name in models:
        header += [f"AP {name}", f"error {name}", f"hidden {name}"]
    rows = []
    for part, joints in evaluation.skeleton.parts.items():
        row = [f"{part} ({len(joints)} joints)"]
        for result in models.values():
            scores = result.parts[part]
            row += [
                format_percent(scores.ap),
                *(f"{format_number(e.mean)} px" for e in (scores.error, scores.occluded_error)),
            ]
        rows.append(row)
    joint_rows = []
    for i, name in enumerate(evaluation.skeleton.keypoint_names):
        errors = [result.joints[i].error for result in models.values()]
        cells = [f"{format_number(value)} px" for error in errors for value in (error.mean, error.median)]
        joint_rows.append([name.replace("_", " "), f"{errors[0].count:,}", *cells])
    joint_header = ["joint", "labelled", *(f"{kind} {name}" for name in models for kind in ("mean", "median"))]
    return (
        "<h2>Body parts</h2><p>Mean errors in pixels of the crop, of all labelled joints and of the hidden ones.</p>"
        f"{table_html(header, rows)}{figure_html(figures, 'parts')}"
        f"<details><summary>Joint by joint</summary>{table_html(joint_header, joint_rows)}</details>"
    )


def _confidence(evaluation: PhotoEvaluation, figures: Mapping[str, ReportFigure]) -> str:
    words, details = [], ""
    for name, result in evaluation.models.items():
        if result.fitted is not None:
            words.append(_calibration_words(name, result.fitted))
        rows = [
            [f"{b.low:.2f} to {b.high:.2f}", f"{b.count:,}", format_number(b.confidence), format_number(b.similarity)]
            for b in result.calibration.bins
        ]
        details += f"<h3>{escape(name)}</h3>" + table_html(["confidence", "joints", "mean", "reached"], rows)
    return (
        "<h2>Confidence</h2><p>A joint's confidence is the keypoint similarity that is to be expected of it. The "
        "expected calibration error (ECE) is the distance between promised and reached similarity in 15 bins of equal "
        f"width, averaged over the labelled joints. {'; '.join(words)}{'.' if words else ''}</p>"
        f"{figure_html(figures, 'calibration')}<details><summary>The bins</summary>{details}</details>"
    )


def _calibration_words(name: str, fitted: Calibration) -> str:
    text = f"{escape(name)} derives it from the spread of sampled poses"
    if fitted == Calibration():
        return f"{text} as it is: nothing was fitted"
    if fitted.unclear:
        text += f" and the height of the heatmaps (weight {fitted.unclear:.3g})"
    return f"{text}, with factor {fitted.factor:.3g} and floor {fitted.floor:.3g} fitted on other persons"


def _method(evaluation: PhotoEvaluation) -> str:
    about = evaluation.provenance
    facts = [("Data", f"{about.data}: {evaluation.num_persons:,} persons on {evaluation.num_images:,} photos")]
    for name, result in evaluation.models.items():
        seconds = f"{result.seconds:.1f} s, {1000 * result.seconds / max(1, evaluation.num_persons):.1f} ms a person"
        facts.append((name, f"{result.model}; fingerprint {result.fingerprint}; {seconds} with reading the photos"))
    facts += [
        ("Command", about.command),
        ("Hardware", about.hardware),
        ("Software", about.software),
        ("Date", f"{about.date}; the evaluation took {about.seconds:g} seconds"),
        ("Seed", str(about.seed)),
    ]
    return (
        "<h2>How it was measured</h2><p>AP and AR are computed by pycocotools. In the annotated boxes there is one "
        "pose a person. Its score is the mean confidence of its joints; of heatmaps, as usual, of the joints above "
        f"0.2. All numbers are in <code>results.json</code> beside this page.</p>{facts_html(facts)}"
    )
