"""The report on models that read photos: its sections, side by side for all models, in 2D and in 3D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pct.evaluation.metrics import CocoAP
from pct.evaluation.metrics3d import JOINT_SCALE_MM
from pct.evaluation.photos.evaluate import PhotoEvaluation
from pct.evaluation.photos.pictures import draw_persons, draw_plots
from pct.evaluation.photos.predictions import EXPECTED, LIKELY
from pct.evaluation.provenance import provenance_rows
from pct.evaluation.report import (
    AP_NAMES,
    SPACE_NAMES,
    SPACE_WORDS,
    Block,
    Details,
    Figure,
    Report,
    Section,
    Table,
    ap_cells,
    format_number,
    format_percent,
    joint_label,
    space_cells,
)
from pct.photos.config import Calibration
from pct.photos.persons import PersonSource

Models = Mapping[str, Mapping[str, Any]]
_FORMS = (
    "The expected pose decodes the mixture of the codebook's entries; the most likely tokens and one sample decode "
    "integers. True tokens are those of the labels: what the tokenizer itself loses."
)


def photo_report(found: PhotoEvaluation, source: PersonSource) -> Report:
    """Return the report on what was measured, its pictures drawn.

    Args:
        found: What was measured.
        source: The persons, whose photos are drawn on.
    """
    numbers, about = found.numbers, found.numbers["provenance"]
    models: Models = numbers["models"]
    persons, figures = draw_persons(found, source), draw_plots(found)
    measured = f"{numbers['num_persons']:,} persons on {numbers['num_images']:,} photos"
    boxes = "annotated boxes, " + ("mean over the photo and its mirror image" if numbers["flip"] else "no flip test")
    sections = [
        _space_accuracy(models) if found.is_3d else _image_accuracy(numbers, figures),
        *_forms(models, found.is_3d),
        Section("On photos", list(persons.values())),
        _space_joints(found) if found.is_3d else _image_parts(found, figures),
        _confidence(models, found.is_3d, figures),
        Section("How it was measured", [_method(found.is_3d)]),
    ]
    return Report(
        "3D poses read off photos" if found.is_3d else "Poses read off photos",
        f"{measured} of `{about['data']}`, {boxes}, {about['date'][:10]}.",
        _cards(models, found.is_3d),
        about["notes"],
        sections,
        provenance_rows(
            about,
            f"{about['data']}: {measured}",
            {
                name: f"{r['model']}; fingerprint {r['fingerprint']}; {r['seconds']:.1f} s, {r['ms_per_photo']:.1f} ms "
                "a photo with reading it"
                for name, r in models.items()
            },
        ),
        numbers,
    )


def _main(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the scores of the poses that people get."""
    return next(iter(result["poses"].values()))


def _cards(models: Models, is_3d: bool) -> list[tuple[str, str]]:
    main = {name: _main(result) for name, result in models.items()}
    if is_3d:
        values = [(_mm(scores["mpjpe"]), f"MPJPE of {name}") for name, scores in main.items()]
        values += [(_mm(scores["p_mpjpe"]), f"P-MPJPE of {name}") for name, scores in main.items()]
    else:
        aps = {"coco": "AP of {} (COCO's evaluator)", "occluded": "AP of {} over hidden joints only"}
        values = [(format_percent(s[key]["ap"]), text.format(n)) for key, text in aps.items() for n, s in main.items()]
    return values + [
        (format_number(r["calibration"]["ece"], 3), f"expected calibration error of the confidence of {name}")
        for name, r in models.items()
        if r["calibration"]["ece"] is not None
    ]


def _image_accuracy(numbers: Mapping[str, Any], figures: Mapping[str, Figure]) -> Section:
    models: Models = numbers["models"]
    main = {name: _main(result) for name, result in models.items()}
    errors = [
        [
            name,
            format_number(scores["mean_oks"]),
            _px(scores["error"]["median"]),
            *(_px(scores[kind]["mean"]) for kind in ("error", "seen_error", "occluded_error")),
            f"{models[name]['ms_per_photo']:.1f} ms",
        ]
        for name, scores in main.items()
    ]
    share = numbers["num_occluded"] / max(1, numbers["num_joints"])
    blocks: list[Block] = [
        _ap_table({name: scores["coco"] for name, scores in main.items()}, "All labelled joints"),
        f"{numbers['num_occluded']:,} of the {numbers['num_joints']:,} joints ({format_percent(share)}) are labelled "
        "but hidden (visibility 1). In the next table no other joint is labelled for the evaluator, and persons "
        "without a hidden joint are left out.",
        _ap_table({name: scores["occluded"] for name, scores in main.items()}, "Hidden joints only"),
        f"Errors are distances from the labels in pixels of a {numbers['crop_size']} px crop. Time is that of reading "
        "the photo and of the model, in batches.",
        Table(
            ["", "mean OKS", "median error", "mean error", "seen joints", "hidden joints", "time a photo"],
            errors,
            caption="Errors",
        ),
        figures["thresholds"],
    ]
    detected = {name: result["detected"] for name, result in models.items() if "detected" in result}
    if detected:
        blocks += [
            f"{numbers['num_detections']:,} boxes of a detector. The score of a pose is its box's times that in the "
            "annotated boxes; poses with an OKS above 0.9 to a better one are taken out; the evaluator takes the 20 "
            "best of a photo.",
            _ap_table(detected, "Detected boxes"),
        ]
    torso = {name: result["pck_torso"] for name, result in models.items() if result["pck_torso"] is not None}
    heads = {name: result["pckh"] for name, result in models.items() if "pckh" in result}
    return Section("Accuracy", [*blocks, *_pck(torso, "PCK@0.2", _TORSO), *_pck(heads, "PCKh@0.5", _HEADS)])


_TORSO = (
    "Share of the joints that lie within 0.2 of the torso's length, from the left shoulder to the right hip, of their "
    "label; persons without both labels do not count."
)
_HEADS = (
    "Share of the joints that lie within half a head size of their label. The mean is over all labelled joints but "
    "pelvis and thorax, as MPII's tables have it."
)


def _pck(shares: Mapping[str, Mapping[str, float | None]], name: str, words: str) -> list[Block]:
    """Return a table of shares by joint, the mean first; nothing where there are none."""
    if not shares or all(values["mean"] is None for values in shares.values()):
        return []
    joints = sorted(next(iter(shares.values())), key=lambda joint: joint != "mean")
    rows = [[joint_label(joint), *(format_percent(values[joint]) for values in shares.values())] for joint in joints]
    means = ", ".join(f"{model} {format_percent(values['mean'])}" for model, values in shares.items())
    return [f"{name}: {means}. {words}", Details(f"{name} by joint", [Table(["", *shares], rows, caption=name)])]


def _ap_table(results: Mapping[str, CocoAP], caption: str) -> Table:
    """Return the APs of models; of two of them their difference too."""
    rows = [[name, *ap_cells(coco)] for name, coco in results.items()]
    if len(results) == 2:
        first, second = results.values()
        rows.append(["difference", *(_gap(first[key], second[key]) for key in AP_NAMES)])  # type: ignore[literal-required]
    return Table(["", *AP_NAMES.values()], rows, highlight=1, caption=caption)


def _gap(value: float | None, other: float | None) -> str:
    """Return how much more the first one is, in per cent points."""
    # Adding 0 turns -0.0 into 0.0.
    return "–" if value is None or other is None else f"{round(100 * (value - other), 1) + 0.0:+.1f}"


def _space_accuracy(models: Models) -> Section:
    kinds = {"seen": "seen_error", "hidden": "occluded_error", "outside the photo": "outside_error"}
    rows = [
        [name, *space_cells(_main(result)), *(_mm(result[key]["mean"]) for key in kinds.values())]
        for name, result in models.items()
    ]
    words = f"{SPACE_WORDS} The last columns are mean errors by how the photo shows a joint, without the root."
    return Section("Accuracy", [words, Table(["", *SPACE_NAMES.values(), *kinds], rows, highlight=1)])


def _forms(models: Models, is_3d: bool) -> list[Section]:
    """Return the section on expected poses, most likely ids, samples and true ids; none without tokens."""
    blocks: list[Block] = [_FORMS if is_3d else f"{_FORMS} All forms are ranked by the same scores."]
    for name, result in models.items():
        if result["tokens"] is None:
            continue
        hits = [format_percent(result["tokens"][key]) for key in ("top1", "top5")]
        if is_3d:
            header = ["", *SPACE_NAMES.values()]
            rows = [[form, *space_cells(scores)] for form, scores in result["poses"].items()]
            lost = _main(result)["mpjpe"], result["poses"][LIKELY]["mpjpe"]
            gap = f"their MPJPE differs from the expected pose's by {lost[1] - lost[0]:+.1f} mm"
        else:
            header = ["", "AP", "AP75", "AP hidden", "mean OKS", "median error", "mean error"]
            rows = [[form, *_image_cells(scores)] for form, scores in result["poses"].items()]
            aps = [result["poses"][form]["coco"]["ap"] for form in (LIKELY, EXPECTED)]
            gap = f"their AP differs from the expected pose's by {_gap(*aps)}"
        blocks += [
            f"{name}: the likeliest token is the true pose's own in {hits[0]}, and the true one is among the five "
            f"likeliest in {hits[1]}. The poses of the most likely tokens are those that can be stored; {gap}.",
            Table(header, rows, highlight=1, caption=name),
        ]
    return [Section("Forms of the pose", blocks)] if len(blocks) > 1 else []


def _image_cells(scores: Mapping[str, Any]) -> list[str]:
    shares = (scores["coco"]["ap"], scores["coco"]["ap75"], scores["occluded"]["ap"])
    errors = (scores["error"]["median"], scores["error"]["mean"])
    return [*map(format_percent, shares), format_number(scores["mean_oks"], 3), *map(_px, errors)]


def _image_parts(found: PhotoEvaluation, figures: Mapping[str, Figure]) -> Section:
    models: Models = found.numbers["models"]
    header = ["", *(f"{kind} {name}" for name in models for kind in ("AP", "error", "hidden"))]
    rows = []
    for part, joints in found.skeleton.parts.items():
        cells = [f"{part} ({len(joints)} joints)"]
        for scores in (result["parts"][part] for result in models.values()):
            cells += [format_percent(scores["ap"]), _px(scores["error"]["mean"]), _px(scores["occluded_error"]["mean"])]
        rows.append(cells)
    words = "Mean errors in pixels of the crop, of all labelled joints and of the hidden ones."
    joints_table = _joint_table(models, (("mean", "error", "mean"), ("median", "error", "median")), _px)
    details = Details("Joint by joint", [joints_table])
    return Section("Body parts", [words, Table(header, rows), figures["parts"], details])


def _space_joints(found: PhotoEvaluation) -> Section:
    columns = (("mean", "error", "mean"), ("median", "error", "median"), ("unseen", "unseen_error", "mean"))
    words = "Unseen joints are hidden or outside the photo: their mean error."
    return Section("Joint by joint", [words, _joint_table(found.numbers["models"], columns, _mm)])


def _joint_table(models: Models, columns: Sequence[tuple[str, str, str]], unit: Any) -> Table:
    """Return errors by joint; a column has its name, the kind of the error, and which of its numbers is shown."""
    rows = []
    for joints in zip(*(result["joints"] for result in models.values()), strict=True):
        cells = [unit(joint[error][key]) for joint in joints for _, error, key in columns]
        rows.append([joint_label(joints[0]["name"]), f"{joints[0]['error']['count']:,}", *cells])
    return Table(["joint", "labelled", *(f"{kind} {name}" for name in models for kind, _, _ in columns)], rows)


def _confidence(models: Models, is_3d: bool, figures: Mapping[str, Figure]) -> Section:
    scale = f"exp(-d² / 2 s²) of an error d, with s = {JOINT_SCALE_MM:.0f} mm for all joints. " if is_3d else ""
    words = (
        f"A joint's confidence is the keypoint similarity that is to be expected of it. {scale}The expected "
        "calibration error (ECE) is the distance between promised and reached similarity in 15 bins of equal width, "
        "averaged over the joints. "
    )
    words += " ".join(_fitted(name, r["fitted"]) for name, r in models.items() if r["fitted"] is not None)
    tables = []
    for name, result in models.items():
        rows = []
        for b in result["calibration"]["bins"]:
            means = map(format_number, (b["confidence"], b["similarity"]))
            rows.append([f"{b['low']:.2f} to {b['high']:.2f}", f"{b['count']:,}", *means])
        tables.append(Table(["confidence", "joints", "mean", "reached"], rows, caption=name))
    shown = [figures["calibration"]] if "calibration" in figures else []
    return Section("Confidence", [words.strip(), *shown, Details("The bins", tables)])


def _fitted(name: str, constants: Mapping[str, float]) -> str:
    if constants == asdict(Calibration()):
        return f"{name} derives it from the spread of sampled poses as it is: nothing was fitted."
    values = ", ".join(f"{key} {value:.3g}" for key, value in constants.items())
    return f"{name} derives it from the spread of sampled poses, with constants fitted on other persons ({values})."


def _method(is_3d: bool) -> str:
    ap = (
        "AP and AR are computed by pycocotools. In the annotated boxes there is one pose a person. Its score is the "
        "mean confidence of its joints; of heatmaps, as usual, of the joints above 0.2. "
    )
    return ("" if is_3d else ap) + "All numbers are in `metrics.json` beside this page."


def _px(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} px"


def _mm(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} mm"
