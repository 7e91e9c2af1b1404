"""The report's page: one HTML file with its tables, pictures and style built in, readable without JavaScript."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from pct.evaluation.figures import ReportFigure
from pct.evaluation.results import TokenizerEvaluation

_STYLE = """
:root { --ink: #23262e; --soft: #666b77; --line: #e2e4ea; --tint: #f5f7fa; --accent: #1a70c7; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: #fff; font: 16px/1.55 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1100px; margin: 0 auto; padding: 40px 24px 72px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 21px; margin: 52px 0 10px; padding-top: 18px; border-top: 1px solid var(--line); }
p { max-width: 76ch; margin: 8px 0; }
.lead { color: var(--soft); margin-bottom: 26px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); gap: 12px; }
.card { background: var(--tint); border-radius: 10px; padding: 14px 16px; }
.card b { display: block; font-size: 27px; font-weight: 650; letter-spacing: -0.02em; }
.card span { color: var(--soft); font-size: 13.5px; line-height: 1.35; display: block; }
.whole { white-space: nowrap; }
.note { margin-top: 18px; border-left: 3px solid #e6a100; background: #fff9ea; padding: 8px 14px;
  border-radius: 0 6px 6px 0; }
.scroll { overflow-x: auto; margin: 14px 0; }
table { border-collapse: collapse; font-size: 14.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 14px 5px 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; }
th:first-child, td:first-child { text-align: left; }
td.best { color: var(--accent); font-weight: 650; }
.facts td { white-space: normal; text-align: left; vertical-align: top; }
.facts td:first-child { color: var(--soft); white-space: nowrap; }
figure { margin: 18px 0 26px; }
figure img { max-width: 100%; height: auto; display: block; }
figcaption { color: var(--soft); font-size: 14px; max-width: 90ch; margin-top: 6px; }
code { font: 13.5px/1.5 ui-monospace, Consolas, monospace; background: var(--tint); padding: 1px 5px;
  border-radius: 4px; overflow-wrap: anywhere; }
"""


def render_page(evaluation: TokenizerEvaluation, figures: Mapping[str, ReportFigure]) -> str:
    """Return the HTML of a report.

    Args:
        evaluation: What was measured.
        figures: The pictures by name; those that are absent are left out.
    """
    about = evaluation.provenance
    sections = [
        _headline(evaluation),
        _reconstruction(evaluation, figures),
        _completion(evaluation, figures),
        _codebook(evaluation, figures),
        _joints(evaluation, figures),
        _method(evaluation),
    ]
    title = f"Pose tokenizer {about.fingerprint}"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def _headline(evaluation: TokenizerEvaluation) -> str:
    about, result, book = evaluation.provenance, evaluation.reconstruction, evaluation.codebook
    cards = [
        (_percent(result.coco.ap), "AP of the reconstructed poses (COCO's evaluator)"),
        (f"{_number(result.error.median)} px", f"median joint error at a {evaluation.crop_size} px crop"),
        (f"{result.mean_oks:.4f}", "mean object keypoint similarity (OKS)"),
        (_percent(book.use.usage), f"of the {book.codebook_size:,} codebook entries used"),
        (f"{book.use.perplexity:,.0f}", f"perplexity of the codebook, of {book.codebook_size:,}"),
        (f"{book.bits_per_pose:.0f} bits", f"entropy of a pose, of {book.most_bits_per_pose:.0f} stored"),
    ]
    row = next((row for row in evaluation.completion.rows if row.hidden == "4" and "ridge" in row.errors), None)
    if row and row.errors["tokenizer"].mean is not None and row.errors["ridge"].mean:
        ratio = row.errors["tokenizer"].mean / row.errors["ridge"].mean
        cards.append((f"{ratio:.2f} ×", "error on 4 hidden joints, against ridge regression"))
    boxes = "".join(f'<div class="card"><b>{escape(v)}</b><span>{escape(text)}</span></div>' for v, text in cards)
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in about.notes)
    return (
        "<h1>How well a pose survives as tokens</h1>"
        f'<p class="lead">{escape(about.model)}. Measured on {result.num_poses:,} persons in {result.num_images:,} '
        f'images of <code>{escape(about.data)}</code>, <span class="whole">{escape(about.date[:10])}</span>.</p>'
        f'<div class="cards">{boxes}</div>{notes}'
    )


def _reconstruction(evaluation: TokenizerEvaluation, figures: Mapping[str, ReportFigure]) -> str:
    result = evaluation.reconstruction
    coco, error = result.coco, result.error
    ap = _table(
        ["AP", "AP50", "AP75", "AP medium", "AP large", "AR", "AR50", "AR75"],
        [
            [
                _percent(value)
                for value in (
                    coco.ap,
                    coco.ap50,
                    coco.ap75,
                    coco.ap_medium,
                    coco.ap_large,
                    coco.ar,
                    coco.ar50,
                    coco.ar75,
                )
            ]
        ],
    )
    pixels = _table(
        ["mean error", "median", "90 % below", "mean OKS", "median OKS", *(f"PCK@{a}" for a in result.pck)],
        [
            [
                *(f"{_number(value)} px" for value in (error.mean, error.median, error.p90)),
                f"{result.mean_oks:.4f}",
                f"{result.median_oks:.4f}",
                *(_percent(value) for value in result.pck.values()),
            ]
        ],
    )
    return (
        "<h2>Reconstruction</h2><p>Each person's labelled joints are encoded in the annotated box, and the pose is "
        f"decoded from the tokens alone. Errors are distances at the {error.count:,} labelled joints, in pixels of a "
        f"{evaluation.crop_size} px crop around the person. PCK counts the joints whose error is within that share of "
        f"the longer side of the box.</p>{ap}{pixels}{_figure(figures, 'typical')}{_figure(figures, 'worst')}"
    )


def _completion(evaluation: TokenizerEvaluation, figures: Mapping[str, ReportFigure]) -> str:
    completion = evaluation.completion
    if completion.num_baseline_poses:
        words = (
            f"The baselines were fitted to {completion.num_baseline_poses:,} poses of "
            f"<code>{escape(evaluation.provenance.baseline_data or 'training poses given in memory')}</code> in the "
            "same crop: the mean position of each joint, and ridge regression of the hidden joints on the known ones, "
            "fitted anew for every pattern of labelled joints on all training poses that have these joints. Its "
            f"penalty ({completion.ridge_penalty:g} of the mean variance) and the weight of its prior for rare "
            f"patterns ({completion.ridge_prior_weight:g} poses) were chosen on a tenth of the training poses."
        )
    else:
        words = "No training poses were given, so the baselines (mean pose and ridge regression) are absent."
    if not completion.rows:
        return f"<h2>Completion</h2><p>No pose has enough labelled joints to hide some of them.</p><p>{words}</p>"
    methods = list(completion.rows[0].errors)
    ratio = "ridge" in methods
    rows = []
    for row in completion.rows:
        values = [row.hidden, f"{row.num_poses:,}", f"{row.errors[methods[0]].count:,}"]
        values += [f"{_number(row.errors[m].mean)} ({_number(row.errors[m].median)})" for m in methods]
        if ratio:
            values.append(_number((row.errors["tokenizer"].mean or 0) / (row.errors["ridge"].mean or 1)))
        rows.append(values)
    header = ["hidden", "persons", "joints", *methods, *(["tokenizer / ridge"] if ratio else [])]
    table = _table(header, rows, highlight=len(header) - 1 if ratio else None)
    return (
        "<h2>Completion</h2><p>Some of the labelled joints are hidden from the model, which fills them in; the error "
        "is measured on these joints only: its mean, and in brackets its median, in pixels of the crop. The number of "
        "joints says how many random labelled joints of each person were hidden; the last row hides all labelled "
        f"joints from the hips down. Persons with fewer than four joints left take no part.</p><p>{words}</p>{table}"
        f"{_figure(figures, 'completion')}"
        f"{_figure(figures, 'completions')}"
    )


def _codebook(evaluation: TokenizerEvaluation, figures: Mapping[str, ReportFigure]) -> str:
    book, skeleton = evaluation.codebook, evaluation.skeleton
    rows = []
    for token, use in enumerate(book.positions):
        moved = evaluation.anatomy.random[token]
        order = sorted(range(len(moved)), key=lambda joint: -moved[joint])[:3]
        joints = ", ".join(f"{skeleton.keypoint_names[j].replace('_', ' ')} {moved[j]:.1f}" for j in order)
        rows.append([f"token {token}", _percent(use.usage), f"{use.perplexity:.0f}", f"{use.entropy_bits:.2f}", joints])
    table = _table(["", "entries used", "perplexity", "bits", "moves most (px, random entry)"], rows)
    return (
        "<h2>Codebook and tokens</h2>"
        f"<p>All tokens together use {_percent(book.use.usage)} of the entries with a perplexity of "
        f"{book.use.perplexity:,.1f}, which is {book.use.entropy_bits:.2f} bits a token. Coded with each token's own "
        f"frequencies a pose takes {book.bits_per_pose:.1f} bits, against {book.most_bits_per_pose:.0f} as plain "
        "integers. The entropies are of this data set; a small one cannot show more than log2 of its number of persons "
        f"for each token.</p>{_figure(figures, 'codebook_use')}<p>What a token means shows when it alone is replaced: "
        f"the joints that move are its own.</p>{_figure(figures, 'token_anatomy')}{_figure(figures, 'variations')}"
        f"<details><summary>Statistics of each token</summary>{table}</details>"
    )


def _joints(evaluation: TokenizerEvaluation, figures: Mapping[str, ReportFigure]) -> str:
    rows = [
        [
            joint.name.replace("_", " "),
            f"{joint.error.count:,}",
            *(_number(value) for value in (joint.error.mean, joint.error.median, joint.error.p90)),
            f"{joint.sigma:.3f}",
        ]
        for joint in evaluation.reconstruction.joints
    ]
    table = _table(["joint", "labelled", "mean px", "median px", "90 % below", "OKS sigma"], rows)
    return f"<h2>Joint by joint</h2>{_figure(figures, 'joint_errors')}{table}"


def _method(evaluation: TokenizerEvaluation) -> str:
    about = evaluation.provenance
    facts = [
        ("Data", f"{about.data}: {evaluation.reconstruction.num_poses:,} persons"),
        ("Baselines fitted to", about.baseline_data or ("" if evaluation.completion.num_baseline_poses else "none")),
        ("Model", f"fingerprint {about.fingerprint}; {about.model}"),
        ("Command", about.command),
        ("Hardware", about.hardware),
        ("Software", about.software),
        ("Date", f"{about.date}; the evaluation took {about.seconds:g} seconds"),
        ("Seed", str(about.seed)),
    ]
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in facts if value)
    return (
        "<h2>How it was measured</h2><p>Poses go through the same <code>encode</code> and <code>decode</code> that "
        "users call. AP and AR are computed by pycocotools with one prediction a person, the annotated boxes, and the "
        "same score for all, which is stricter than ranking by a score. All numbers are in <code>metrics.json</code> "
        f'beside this page.</p><div class="scroll"><table class="facts">{rows}</table></div>'
    )


def _figure(figures: Mapping[str, ReportFigure], name: str) -> str:
    if name not in figures:
        return ""
    figure = figures[name]
    data = base64.b64encode(figure.png).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" width="{figure.width}" height="{figure.height}" '
        f'alt="{escape(figure.caption)}"><figcaption>{escape(figure.caption)}</figcaption></figure>'
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], highlight: int | None = None) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>"
        + "".join(f"<td{' class=best' if i == highlight else ''}>{escape(cell)}</td>" for i, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
