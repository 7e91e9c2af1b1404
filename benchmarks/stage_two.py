"""Token classifier against heatmaps over several seeds: trains nothing, measures finished runs on one test set.

  python benchmarks/stage_two.py people/test --classifiers runs/pct_s0 runs/pct_s1 runs/pct_s2 \\
      --heatmaps runs/heat_s0 runs/heat_s1 runs/heat_s2 --out docs/results/stage_two

The runs are paired in the order given. Each pair is measured by tools/evaluate_photos.py; the table of differences,
their mean and the training time of each run, read from its log, are written as table.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from measure import training_log

from pct.files import write_atomically

TOOL = Path(__file__).parents[1] / "tools" / "evaluate_photos.py"
ROWS = (
    ("AP", ("poses", None, "coco", "ap")),
    ("AP of occluded joints", ("poses", None, "occluded", "ap")),
    ("mean OKS", ("poses", None, "mean_oks")),
)


def main() -> int:
    """Measure all pairs and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with annotations.json and images/")
    parser.add_argument("--classifiers", type=Path, nargs="+", required=True, metavar="RUN")
    parser.add_argument("--heatmaps", type=Path, nargs="+", required=True, metavar="RUN")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for a report a pair, and the table")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if len(options.classifiers) != len(options.heatmaps):
        parser.error("give as many heatmap runs as classifiers")
    pairs = [
        _measure(options, number, *runs)
        for number, runs in enumerate(zip(options.classifiers, options.heatmaps, strict=True))
    ]
    text = _table(pairs)
    write_atomically(options.out / "table.md", text.encode())
    print(text)
    return 0


def _measure(options: argparse.Namespace, number: int, classifier: Path, heatmap: Path) -> dict[str, Any]:
    """Return the numbers of a pair, from its report if that is there already."""
    folder = options.out / f"pair_{number}"
    if not (folder / "results.json").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        models = ["--model", classifier / "model", "--heatmap", heatmap / "model"]
        arguments = ["--images", options.data / "images", *models]
        command = [sys.executable, TOOL, options.data / "annotations.json", *arguments, "--out", folder, "--force"]
        subprocess.run([*map(str, command), "--threads", str(options.threads)], check=True)
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return {"results": results, "steps": [_steps(classifier), _steps(heatmap)]}


def _steps(run: Path) -> str:
    """Return steps and minutes of a run, its first phase included, from its log."""
    logs = [run / "pretrain" / "metrics.jsonl", run / "metrics.jsonl"]
    phases = [training_log(log, _batch_size(run)) for log in logs]
    steps, seconds = (sum(values) for values in zip(*phases, strict=True))
    return f"{steps:.0f} in {seconds / 60:.1f} min"


def _batch_size(run: Path) -> int:
    lines = (run / "config.yaml").read_text(encoding="utf-8").splitlines()
    return int(next(line.split(":")[1] for line in lines if line.startswith("batch_size:")))


def _pick(model: dict[str, Any], path: tuple[str | None, ...], form: str) -> float:
    value: Any = model
    for key in path:
        value = value[form if key is None else key]
    return 100 * float(value)


def _table(pairs: list[dict[str, Any]]) -> str:
    first = pairs[0]["results"]
    lines = [
        f"{first['num_persons']} persons of {first['provenance']['data']}, flip test; "
        f"{first['provenance']['hardware']}, {first['provenance']['software']}, {first['provenance']['date'][:10]}.",
        "",
        "| measure | " + " | ".join(f"pair {i}" for i in range(len(pairs))) + " | mean difference |",
        "| --- |" + " --- |" * len(pairs) + " ---: |",
    ]
    for name, path in ROWS:
        cells, differences = [], []
        for pair in pairs:
            tokens, heatmaps = (pair["results"]["models"][kind] for kind in ("PCT", "heatmaps"))
            ours, theirs = _pick(tokens, path, "expected pose"), _pick(heatmaps, path, "top of the heatmap")
            cells.append(f"{ours:.1f} / {theirs:.1f} ({ours - theirs:+.1f})")
            differences.append(ours - theirs)
        lines.append(f"| {name}, tokens / heatmaps | {' | '.join(cells)} | {statistics.mean(differences):+.1f} |")
    likely = [
        [_pick(p["results"]["models"]["PCT"], ROWS[0][1], form) for form in ("expected pose", "most likely tokens")]
        for p in pairs
    ]
    cells = [f"{hard:.1f} ({hard - soft:+.1f})" for soft, hard in likely]
    mean = statistics.mean(hard - soft for soft, hard in likely)
    lines.append(f"| AP of the most likely tokens (against the expected pose) | {' | '.join(cells)} | {mean:+.1f} |")
    for name, path in ROWS[:2]:
        own = [_pick(p["results"]["models"]["PCT"], path, "top of the heatmap") for p in pairs]
        tokens = [_pick(p["results"]["models"]["PCT"], path, "expected pose") for p in pairs]
        cells = [f"{top:.1f} ({top - soft:+.1f})" for top, soft in zip(own, tokens, strict=True)]
        mean = statistics.mean(top - soft for top, soft in zip(own, tokens, strict=True))
        lines.append(
            f"| {name} of the classifier's own heatmaps (against its tokens) | {' | '.join(cells)} | {mean:+.1f} |"
        )
    for kind in ("PCT", "heatmaps"):
        errors = [p["results"]["models"][kind]["calibration"]["ece"] for p in pairs]
        cells = [f"{error:.3f}" for error in errors]
        lines.append(f"| calibration error, {kind} | {' | '.join(cells)} | {statistics.mean(errors):.3f} |")
    cells = [" / ".join(pair["steps"]) for pair in pairs]
    return "\n".join([*lines, f"| steps and training time, tokens / heatmaps | {' | '.join(cells)} | |"]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
