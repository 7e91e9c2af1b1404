"""The report's page: one HTML file with its tables, pictures and style built in, readable without JavaScript."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from pct.evaluation.codebook import CodebookStatistics, TokenAnatomy
from pct.evaluation.figures import ReportFigure
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
from pct.evaluation.results import Completion, Provenance, TokenizerEvaluation
from pct.skeleton import Skeleton


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
        codebook_html(evaluation.codebook, evaluation.anatomy, evaluation.skeleton, figures),
        _joints(evaluation, figures),
        _method(evaluation),
    ]
    return whole_page(f"Pose tokenizer {about.fingerprint}", sections)


def _headline(evaluation: TokenizerEvaluation) -> str:
    about, result, book = evaluation.provenance, evaluation.reconstruction, evaluation.codebook
    cards = [
        (format_percent(result.coco.ap), "AP of the reconstructed poses (COCO's evaluator)"),
        (f"{format_number(result.error.median)} px", f"median joint error at a {evaluation.crop_size} px crop"),
        (f"{result.mean_oks:.4f}", "mean object keypoint similarity (OKS)"),
        (format_percent(book.use.usage), f"of the {book.codebook_size:,} codebook entries used"),
        (f"{book.use.perplexity:,.0f}", f"perplexity of the codebook, of {book.codebook_size:,}"),
        (f"{book.bits_per_pose:.0f} bits", f"entropy of a pose, of {book.most_bits_per_pose:.0f} stored"),
    ]
    row = next((row for row in evaluation.completion.rows if row.hidden == "4" and "ridge" in row.errors), None)
    if row and row.errors["tokenizer"].mean is not None and row.errors["ridge"].mean:
        ratio = row.errors["tokenizer"].mean / row.errors["ridge"].mean
        cards.append((f"{ratio:.2f} ×", "error on 4 hidden joints, against ridge regression"))
    return (
        "<h1>How well a pose survives as tokens</h1>"
        f'<p class="lead">{escape(about.model)}. Measured on {result.num_poses:,} persons in {result.num_images:,} '
        f'images of <code>{escape(about.data)}</code>, <span class="whole">{escape(about.date[:10])}</span>.</p>'
        f"{cards_html(cards)}{notes_html(about.notes)}"
    )


def _reconstruction(evaluation: TokenizerEvaluation, figures: Mapping[str, ReportFigure]) -> str:
    result = evaluation.reconstruction
    coco, error = result.coco, result.error
    ap = table_html(
        ["AP", "AP50", "AP75", "AP medium", "AP large", "AR", "AR50", "AR75"],
        [
            [
                format_percent(value)
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
    pixels = table_html(
        ["mean error", "median", "90 % below", "mean OKS", "median OKS", *(f"PCK@{a}" for a in result.pck)],
        [
            [
                *(f"{format_number(value)} px" for value in (error.mean, error.median, error.p90)),
                f"{result.mean_oks:.4f}",
                f"{result.median_oks:.4f}",
                *(format_percent(value) for value in result.pck.values()),
            ]
        ],
    )
    return (
        "<h2>Reconstruction</h2><p>Each person's labelled joints are encoded in the annotated box, and the pose is "
        f"decoded from the tokens alone. Errors are distances at the {error.count:,} labelled joints, in pixels of a "
        f"{evaluation.crop_size} px crop around the person. PCK counts the joints whose error is within that share of "
        f"the longer side of the box.</p>{ap}{pixels}{figure_html(figures, 'typical')}{figure_html(figures, 'worst')}"
    )


def _completion(evaluation: TokenizerEvaluation, figures: Mapping[str, ReportFigure]) -> str:
    words = (
        "Some of the labelled joints are hidden from the model, which fills them in; the error is measured on these "
        "joints only: its mean, and in brackets its median, in pixels of the crop. The number of joints says how many "
        "random labelled joints of each person were hidden; the last row hides all labelled joints from the hips down. "
        "Persons with fewer than four joints left take no part."
    )
    baseline = escape(evaluation.provenance.baseline_data or "training poses given in memory")
    baseline_words = (
        f"poses of <code>{baseline}</code> in the same crop: the mean position of each joint, and ridge regression of "
        "the hidden joints on the known ones, fitted anew for every pattern of labelled joints on all training poses "
        "that have these joints."
    )
    return completion_html(evaluation.completion, figures, words, baseline_words)


def completion_html(
    completion: Completion,
    figures: Mapping[str, ReportFigure],
    words: str,
    baseline_words: str,
    persons: str = "persons",
) -> str:
    """Return the section on hidden joints.

    Args:
        completion: What was measured.
        figures: Pictures of the page; ``completion`` and ``completions`` belong here.
        words: What was measured, as HTML.
        baseline_words: What the baselines were fitted to and are, as HTML that follows a number of poses.
        persons: Who the poses are of.
    """
    if completion.num_baseline_poses:
        about = (
            f"The baselines were fitted to {completion.num_baseline_poses:,} {baseline_words} Its penalty "
            f"({completion.ridge_penalty:g} of the mean variance) and the weight of its prior for rare "
            f"patterns ({completion.ridge_prior_weight:g} poses) were chosen on a tenth of the training poses."
        )
    else:
        about = "No training poses were given, so the baselines (mean pose and ridge regression) are absent."
    if not completion.rows:
        return f"<h2>Completion</h2><p>No pose has enough labelled joints to hide some of them.</p><p>{about}</p>"
    methods = list(completion.rows[0].errors)
    ratio = "ridge" in methods
    rows = []
    for row in completion.rows:
        values = [row.hidden, f"{row.num_poses:,}", f"{row.errors[methods[0]].count:,}"]
        values += [f"{format_number(row.errors[m].mean)} ({format_number(row.errors[m].median)})" for m in methods]
        if ratio:
            values.append(format_number((row.errors["tokenizer"].mean or 0) / (row.errors["ridge"].mean or 1)))
        rows.append(values)
    header = ["hidden", persons, "joints", *methods, *(["tokenizer / ridge"] if ratio else [])]
    table = table_html(header, rows, highlight=len(header) - 1 if ratio else None)
    return (
        f"<h2>Completion</h2><p>{words}</p><p>{about}</p>{table}"
        f"{figure_html(figures, 'completion')}{figure_html(figures, 'completions')}"
    )


def codebook_html(
    book: CodebookStatistics,
    anatomy: TokenAnatomy,
    skeleton: Skeleton,
    figures: Mapping[str, ReportFigure],
    unit: str = "px",
) -> str:
    """Return the section on the codebook and on what each token moves, in ``unit``."""
    rows = []
    for token, use in enumerate(book.positions):
        moved = anatomy.random[token]
        order = sorted(range(len(moved)), key=lambda joint: -moved[joint])[:3]
        joints = ", ".join(f"{skeleton.keypoint_names[j].replace('_', ' ')} {moved[j]:.1f}" for j in order)
        rows.append(
            [f"token {token}", format_percent(use.usage), f"{use.perplexity:.0f}", f"{use.entropy_bits:.2f}", joints]
        )
    table = table_html(["", "entries used", "perplexity", "bits", f"moves most ({unit}, random entry)"], rows)
    return (
        "<h2>Codebook and tokens</h2>"
        f"<p>All tokens together use {format_percent(book.use.usage)} of the entries with a perplexity of "
        f"{book.use.perplexity:,.1f}, which is {book.use.entropy_bits:.2f} bits a token. Coded with each token's own "
        f"frequencies a pose takes {book.bits_per_pose:.1f} bits, against {book.most_bits_per_pose:.0f} as plain "
        "integers. The entropies are of this data set; a small one cannot show more than log2 of its number of persons "
        f"for each token.</p>{figure_html(figures, 'codebook_use')}<p>What a token means shows when it alone is "
        f"replaced: the joints that move are its own.</p>{figure_html(figures, 'token_anatomy')}"
        f"{figure_html(figures, 'variations')}"
        f"<details><summary>Statistics of each token</summary>{table}</details>"
    )


def _joints(evaluation: TokenizerEvaluation, figures: Mapping[str, ReportFigure]) -> str:
    rows = [
        [
            joint.name.replace("_", " "),
            f"{joint.error.count:,}",
            *(format_number(value) for value in (joint.error.mean, joint.error.median, joint.error.p90)),
            f"{joint.sigma:.3f}",
        ]
        for joint in evaluation.reconstruction.joints
    ]
    table = table_html(["joint", "labelled", "mean px", "median px", "90 % below", "OKS sigma"], rows)
    return f"<h2>Joint by joint</h2>{figure_html(figures, 'joint_errors')}{table}"


def _method(evaluation: TokenizerEvaluation) -> str:
    counts = (evaluation.reconstruction.num_poses, evaluation.completion.num_baseline_poses)
    return (
        "<h2>How it was measured</h2><p>Poses go through the same <code>encode</code> and <code>decode</code> that "
        "users call. AP and AR are computed by pycocotools with one prediction a person, the annotated boxes, and the "
        "same score for all, which is stricter than ranking by a score. All numbers are in <code>metrics.json</code> "
        f"beside this page.</p>{provenance_html(evaluation.provenance, *counts)}"
    )


def provenance_html(about: Provenance, num_poses: int, num_baseline_poses: int, persons: str = "persons") -> str:
    """Return the table of what was measured with what, where and when."""
    return facts_html(
        [
            ("Data", f"{about.data}: {num_poses:,} {persons}"),
            ("Baselines fitted to", about.baseline_data or ("" if num_baseline_poses else "none")),
            ("Model", f"fingerprint {about.fingerprint}; {about.model}"),
            ("Command", about.command),
            ("Hardware", about.hardware),
            ("Software", about.software),
            ("Date", f"{about.date}; the evaluation took {about.seconds:g} seconds"),
            ("Seed", str(about.seed)),
        ]
    )
