"""The report on a tokenizer: its sections, in words and tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pct.evaluation.provenance import provenance_rows
from pct.evaluation.report import (
    AP_NAMES,
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
)
from pct.evaluation.tokens.completion import ridge_ratio
from pct.evaluation.tokens.evaluate import TokenizerEvaluation
from pct.evaluation.tokens.pictures import draw_figures
from pct.evaluation.tokens.worth_report import worth_section

# Hidden joints of the row that the first cards and most people quote.
_QUOTED = {"px": "4", "mm": "2"}
_AP = (
    "AP and AR are computed by pycocotools with one prediction a person, the annotated boxes, and the same score for "
    "all, which is stricter than ranking by a score. "
)
Figures = Mapping[str, Figure]
Numbers = Mapping[str, Any]


def tokenizer_report(evaluation: TokenizerEvaluation) -> Report:
    """Return the report on what was measured, its pictures drawn."""
    numbers, figures = evaluation.numbers, draw_figures(evaluation)
    about, result, book, unit = (numbers[key] for key in ("provenance", "reconstruction", "codebook", "unit"))
    flat = unit == "px"
    where = f"persons of {result['num_images']:,} images" if flat else f"poses of {result['num_clips']:,} clips"
    baseline = about["baseline_data"] or ("" if numbers["completion"]["num_baseline_poses"] else "none")
    exact = (_AP if flat else "") + "All numbers are in `metrics.json` beside this page."
    return Report(
        f"How well a {'' if flat else '3D '}pose survives as tokens",
        f"{about['model']}. Measured on {result['num_poses']:,} {where} of `{about['data']}`, {about['date'][:10]}.",
        [
            *_result_cards(result, numbers["crop_size"]),
            (format_percent(book["use"]["usage"]), f"of the {book['codebook_size']:,} ids used"),
            (f"{book['bits_per_pose']:.0f} bits", f"entropy of a pose, of {book['most_bits_per_pose']:.0f} stored"),
            *_completion_card(numbers),
        ],
        about["notes"],
        [
            _reconstruction(result, numbers["crop_size"], figures),
            worth_section(numbers["worth"], unit),
            _completion(numbers, figures),
            _codebook(numbers, evaluation.codec.tokenizer.skeleton.keypoint_names, figures),
            _joints(result["joints"], unit, figures),
            *_groups(result),
            Section(
                "How it was measured", [f"Poses go through the same `encode` and `decode` that users call. {exact}"]
            ),
        ],
        provenance_rows(
            about | {"baseline_data": baseline},
            f"{about['data']}: {result['num_poses']:,} {where}",
            {"Model": f"fingerprint {about['fingerprint']}; {about['model']}"},
        ),
        numbers,
    )


def _result_cards(result: Numbers, crop_size: int | None) -> list[tuple[str, str]]:
    if crop_size is None:
        return [
            (f"{format_number(result['mpjpe']['mean'])} mm", "MPJPE of the reconstructed poses"),
            (f"{format_number(result['p_mpjpe']['mean'])} mm", "P-MPJPE, after the best similarity of each pose"),
            (f"{format_number(result['mpjpe']['p90'])} mm", "MPJPE that 90 % of the poses stay below"),
        ]
    return [
        (format_percent(result["coco"]["ap"]), "AP of the reconstructed poses (COCO's evaluator)"),
        (f"{format_number(result['error']['median'])} px", f"median joint error at a {crop_size} px crop"),
        (f"{result['mean_oks']:.4f}", "mean object keypoint similarity (OKS)"),
    ]


def _completion_card(numbers: Numbers) -> list[tuple[str, str]]:
    hidden = _QUOTED[numbers["unit"]]
    ratio = ridge_ratio(numbers["completion"]["rows"], hidden)
    return [] if ratio is None else [(f"{ratio:.2f} ×", f"error on {hidden} hidden joints, against ridge regression")]


def _error_cells(error: Numbers) -> list[str]:
    return [format_number(error[key]) for key in ("mean", "median", "p90")]


def _reconstruction(result: Numbers, crop_size: int | None, figures: Figures) -> Section:
    if crop_size is None:
        measures = {"MPJPE": "mpjpe", "P-MPJPE": "p_mpjpe", "N-MPJPE": "n_mpjpe"}
        words = (
            "Each pose is turned and tilted as one random camera sees it, encoded with all of its joints, and decoded "
            f"from the tokens alone. MPJPE is the mean distance of a pose's {len(result['joints'])} joints, the root "
            "included, to the true ones after the root of each has been subtracted; P-MPJPE after the best rotation, "
            "scale and shift of each pose; N-MPJPE after the best scale. The unweighted mean over kinds of actions of "
            f"the MPJPE is {result['action_mean']:.2f} mm."
        )
        rows = [[name, *_error_cells(result[key])] for name, key in measures.items()]
        tables = [Table(["mm", "mean", "median", "90 % below"], rows)]
    else:
        error, shares = result["error"], result["pck"]
        similarity = [f"{result['mean_oks']:.4f}", f"{result['median_oks']:.4f}"]
        cells = [*(f"{cell} px" for cell in _error_cells(error)), *similarity, *map(format_percent, shares.values())]
        header = ["mean error", "median", "90 % below", "mean OKS", "median OKS", *(f"PCK@{a}" for a in shares)]
        words = (
            "Each person's labelled joints are encoded in the annotated box, and the pose is decoded from the tokens "
            f"alone. Errors are distances at the {error['count']:,} labelled joints, in pixels of a {crop_size} px "
            "crop around the person. PCK counts the joints whose error is within that share of the box's longer side."
        )
        tables = [Table([*AP_NAMES.values()], [ap_cells(result["coco"])]), Table(header, [cells])]
    return Section("Reconstruction", [words, *tables, figures["typical"], figures["worst"]])


def _completion(numbers: Numbers, figures: Figures) -> Section:
    completion, unit = numbers["completion"], numbers["unit"]
    blocks: list[Block] = [
        "Some of the labelled joints are hidden from the model, which fills them in; the error is measured on these "
        f"joints only: its mean, and in brackets its median, in {unit}. The number of joints says how many random "
        "labelled joints of each pose were hidden; the last row hides all labelled joints from the hips down. "
        + ("Persons with fewer than four joints left take no part." if unit == "px" else "The root is never hidden.")
    ]
    if completion["num_baseline_poses"]:
        blocks.append(
            f"The baselines were fitted to {completion['num_baseline_poses']:,} poses of "
            f"`{numbers['provenance']['baseline_data'] or 'training poses given in memory'}` in the same frame: the "
            "mean position of each joint, and ridge regression of the hidden joints on the known ones, fitted anew for "
            "every pattern of labelled joints on all training poses that have these joints. Its penalty "
            f"({completion['ridge_penalty']:g} of the mean variance) and the weight of its prior for rare patterns "
            f"({completion['ridge_prior_weight']:g} poses) were chosen on some of the training poses, held out for it."
        )
    else:
        blocks.append("No training poses were given, so the baselines (mean pose and ridge regression) are absent.")
    if not completion["rows"]:
        return Section("Completion", ["No pose has enough labelled joints to hide some of them.", *blocks[1:]])
    shown = [figures[name] for name in ("completion", "completions") if name in figures]
    return Section("Completion", [*blocks, completion_table(completion["rows"]), *shown])


def completion_table(rows: Sequence[Numbers]) -> Table:
    """Return the errors on hidden joints by method, and the tokenizer's over that of the ridge regression."""
    methods, cells = list(rows[0]["errors"]), []
    ratio = ["tokenizer / ridge"] if {"tokenizer", "ridge"} <= set(methods) else []
    for row in rows:
        errors = [f"{format_number(e['mean'])} ({format_number(e['median'])})" for e in row["errors"].values()]
        counts = [f"{row['num_poses']:,}", f"{row['errors'][methods[0]]['count']:,}"]
        ratios = [format_number(ridge_ratio(rows, row["hidden"])) for _ in ratio]
        cells.append([row["hidden"], *counts, *errors, *ratios])
    header = ["hidden", "poses", "joints", *methods, *ratio]
    return Table(header, cells, highlight=len(header) - 1 if ratio else None)


def _codebook(numbers: Numbers, names: Sequence[str], figures: Figures) -> Section:
    book, rows = numbers["codebook"], []
    for token, (use, moved) in enumerate(zip(book["positions"], numbers["anatomy"]["random"], strict=True)):
        order = sorted(range(len(moved)), key=lambda joint: -moved[joint])[:3]
        joints = ", ".join(f"{joint_label(names[joint])} {moved[joint]:.1f}" for joint in order)
        cells = [format_percent(use["usage"]), f"{use['perplexity']:.0f}", f"{use['entropy_bits']:.2f}"]
        rows.append([f"token {token}", *cells, joints])
    table = Table(["", "ids used", "perplexity", "bits", f"moves most ({numbers['unit']}, random id)"], rows)
    words = (
        f"All tokens together use {format_percent(book['use']['usage'])} of the ids with a perplexity of "
        f"{book['use']['perplexity']:,.1f}, which is {book['use']['entropy_bits']:.2f} bits a token. Coded with each "
        f"token's own frequencies a pose takes {book['bits_per_pose']:.1f} bits, against "
        f"{book['most_bits_per_pose']:.0f} as plain integers. The entropies are of this data set; a small one cannot "
        "show more than log2 of its number of poses for each token."
    )
    blocks: list[Block] = [
        words,
        figures["codebook_use"],
        "What a token means shows when it alone is replaced: the joints that move are its own.",
        figures["token_anatomy"],
        figures["variations"],
        Details("Statistics of each token", [table]),
    ]
    return Section("Codebook and tokens", blocks)


def _joints(joints: Iterable[Numbers], unit: str, figures: Figures) -> Section:
    header = ["joint", "labelled", f"mean {unit}", f"median {unit}", "90 % below", "OKS sigma"]
    rows = [
        [joint_label(j["name"]), f"{j['error']['count']:,}", *_error_cells(j["error"]), format_number(j["sigma"], 3)]
        for j in joints
    ]
    return Section("Joint by joint", [figures["joint_errors"], Table(header, rows)])


def _groups(result: Numbers) -> list[Section]:
    """Return the section on groups of poses in space; those in images have none."""
    if "clips" not in result:
        return []
    clips = Details("All clips, the worst first", [_group_table("clip", result["clips"])])
    tables = [_group_table("kind of action", result["kinds"]), _group_table("subject", result["subjects"])]
    return [Section("By kind of action, subject and clip", [*tables, clips])]


def _group_table(what: str, groups: Iterable[Numbers]) -> Table:
    rows = [[g["name"], f"{g['num_poses']:,}", format_number(g["mpjpe"]), format_number(g["p_mpjpe"])] for g in groups]
    return Table([what, "poses", "MPJPE mm", "P-MPJPE mm"], rows)
