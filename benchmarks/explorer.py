"""The explorer's network against Python's, and its speed: ``python benchmarks/explorer.py --data ../shared/data``.

Of each shipped model the page is written and run under node on poses of COCO val2017, or of motion capture, taken
evenly over the file: how many poses have the same 34 ids as in Python, and how far joints decoded from all ids and from
the shortest prefix lie apart at most, in model units. In headless Chromium a joint is dragged about: the time from the
pointer's event to the page with new ids, and the processor's time that its thread takes for one event, which other
programs hardly change.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from measure import describe_machine
from torch import Tensor

from pct import PoseTokenizer
from pct.explorer.page import explore
from pct.tokenizer.folding import FoldedTokenizer
from pct.tokens.codec import read_pose_batches

FILES = {
    "coco17": "coco/annotations/person_keypoints_val2017.json",
    "coco17-ordered": "coco/annotations/person_keypoints_val2017.json",
    "h36m17": "mocap_h36m17.npz",
}
_OBSERVE = """
window.times = [];
new PerformanceObserver((list) => window.times.push(...list.getEntries().map((entry) => entry.duration)))
  .observe({ entryTypes: ["measure"] });
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="the data pack (default: %(default)s)"
    )
    parser.add_argument("--poses", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--browser", default=shutil.which("chromium"), help="default: %(default)s")
    args = parser.parse_args(argv)
    print(describe_machine(torch.device("cpu")))
    print("\n| model | page | equal ids | joints apart | encode | decode | drag to ids: median, 95 % | processor |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    with TemporaryDirectory() as folder:
        for name, file in FILES.items():
            page = Path(folder) / f"{name}.html"
            page.write_text(explore(name), encoding="utf-8", newline="")
            values = compare(name, args.data / file, page, args.poses)
            drags = time_drags(page, args.browser) if args.browser else "no browser | "
            print(
                f"| `{name}` | {page.stat().st_size / 1e6:.2f} MB | {values['equal']:,} of {values['poses']:,} "
                f"| {values['apart']:.1e} | {values['encode_ms']:.1f} ms | {values['decode_ms']:.1f} ms | {drags} |"
            )
    return 0


def compare(name: str, file: Path, page: Path, count: int) -> dict[str, Any]:
    """Encode and decode poses of a file in Python and by the page under node."""
    tokenizer = PoseTokenizer.from_pretrained(name)
    joints, visible = read_poses(tokenizer, file, count)
    folded = FoldedTokenizer.of(tokenizer)
    expected = folded.encode(joints, visible)
    values: dict[str, Any] = {"poses": len(joints), "apart": 0.0}
    for prefix in (tokenizer.shortest_prefix, tokenizer.config.num_tokens):
        result = run_page(page, joints, visible, prefix)
        decoded = torch.tensor(result["joints"]).view(joints.shape)
        apart = (decoded - folded.decode(expected[:, :prefix])).abs().max()
        values["apart"] = max(values["apart"], float(apart))
        values["equal"] = int((torch.tensor(result["ids"]) == expected).all(dim=1).sum())
        values |= {key: result[key] for key in ("encode_ms", "decode_ms")}
    return values


def read_poses(tokenizer: PoseTokenizer, file: Path, count: int) -> tuple[Tensor, Tensor]:
    """Return poses of a file, evenly over it, in model units (B, K, D), and which joints are known (B, K)."""
    tables = [batch.poses for batch in read_pose_batches(tokenizer, file)]
    keypoints, visible, bbox = (torch.cat([getattr(t, n) for t in tables]) for n in ("keypoints", "visible", "bbox"))
    reference = bbox if tokenizer.space.kind == "crop2d" else keypoints[:, tokenizer.space.root]
    rows = torch.linspace(0, len(keypoints) - 1, count).long()
    return tokenizer.space.normalise(keypoints[rows], reference[rows]), visible[rows]


def run_page(page: Path, joints: Tensor, visible: Tensor, prefix: int) -> dict[str, Any]:
    """Run poses through the network of a page under node: ``ids``, ``joints``, and times in milliseconds."""
    poses = {"joints": joints.flatten(1).tolist(), "visible": visible.tolist(), "prefix": prefix}
    command = ["node", str(Path(__file__).with_suffix(".js")), str(page)]
    done = subprocess.run(command, input=json.dumps(poses), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def time_drags(file: Path, browser: str, steps: int = 200) -> str:
    """Drag a joint of a page round a circle in Chromium; two cells of the table."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1600, "height": 900})
        page.goto(file.resolve().as_uri())
        page.wait_for_selector(".chips b:not(:empty)")
        page.evaluate(_OBSERVE)
        dot = page.locator('.joint[aria-label^="left wrist,"] .dot').bounding_box()
        x, y = dot["x"] + dot["width"] / 2, dot["y"] + dot["height"] / 2
        tools = page.context.new_cdp_session(page)
        tools.send("Performance.enable", {"timeDomain": "threadTicks"})
        before = _busy(tools)
        page.mouse.move(x, y)
        page.mouse.down()
        for step in range(steps):
            turn = torch.tensor(step / 20)
            page.mouse.move(x + 40 * float(torch.sin(turn)), y + 40 * float(torch.cos(turn)))
        page.mouse.up()
        page.wait_for_timeout(200)
        times, busy = page.evaluate("window.times"), 1000 * (_busy(tools) - before)
        chromium.close()
    wall = f"{statistics.median(times):.1f}, {statistics.quantiles(times, n=20)[-1]:.1f} ms ({len(times)} events)"
    return f"{wall} | {busy / len(times):.1f} ms"


def _busy(tools: Any) -> float:
    """Return the seconds of the processor that the page's thread has worked."""
    metrics = {metric["name"]: metric["value"] for metric in tools.send("Performance.getMetrics")["metrics"]}
    return metrics["TaskDuration"]


if __name__ == "__main__":
    raise SystemExit(main())
