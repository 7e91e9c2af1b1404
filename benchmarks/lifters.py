#!/usr/bin/env python
"""Train every lifting network with both heads on the same mocap clips, measure all, and write docs/lifters.md."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from lifter_speed import measure_speed
from lifters_clips import clips_section
from lifters_page import write_page
from measure import describe_machine, lifter_parser, training_log

from pct.evaluation.lifting import evaluate_lifter
from pct.evaluation.metrics3d import mpjpe
from pct.files.motion.mocap import load_mocap, split_mocap
from pct.files.output import write_atomically
from pct.lifting.count import count_multiply_adds, count_parameters
from pct.lifting.detector_noise import NoiseConfig
from pct.lifting.lifter import Lifter
from pct.lifting.pairs import PosePairs, photograph
from pct.skeleton import H36M17
from pct.tokenizer import PoseTokenizer
from pct.training.kinds import load_run, progress_bar
from pct.training.lifting.config import LifterRun
from pct.training.lifting.recipe import build_lifter, train_lifter
from pct.training.run_files import METRICS, MODEL_FOLDER, prepare_folder

DESCRIPTION = """\
Train the lifting networks with coordinates and with tokens, each as many steps, and compare them on test clips.

  benchmarks/lifters.py --mocap mocap_h36m17.npz
  benchmarks/lifters.py --mocap mocap_h36m17.npz --networks fcn lcn --steps 500 --out try

A network that is trained already is only measured; one that was interrupted goes on. `--heads longer` trains
coordinates three times as long, which takes about the time of tokens. OUT gets lifters.md and results/lifters/. Test
clips: whole subjects, and a fifth of the clips of the others; no setting was chosen on them."""
CONFIGS = Path(__file__).parents[1] / "configs"
TOKENIZER = "h36m17"
# As published where nothing stands here. The tokenizer's own mixer, 512 wide, would take most of the time.
NETWORKS: dict[str, tuple[str, ...]] = {
    "fcn": (),
    "gcn": (),
    "gcn_preagg_decoupled": (),
    "gcn_conv": (),
    "stgcn": (),
    "lcn": (),
    "hcsf": (),
    "dhcsf": (),
    "ampose_small": (),
    "mixer": ("lifter.width=128", "lifter.depth=4"),
    "attention": ("lifter.width=128", "lifter.depth=4"),
}
# Too slow to train here: they are counted and timed only.
ONLY_COUNTED = ("ampose",)
HEADS = {"coordinates": "lifter_mocap.yaml", "tokens": "lifter_mocap_tokens.yaml", "longer": "lifter_mocap.yaml"}
# A token head makes a step take about three times as long; `longer` gives coordinates as much time.
LONGER = 3
NOISE = NoiseConfig(missing_share=0.0)
COMMANDS = [
    "benchmarks/lifters.py --mocap mocap_h36m17.npz --networks mixer --heads longer --train-only",
    "benchmarks/lifters.py --mocap mocap_h36m17.npz",
]
CONDITIONS: dict[str, tuple[NoiseConfig, int | None]] = {
    "clean": (NoiseConfig.clean(), None),
    "noisy": (NOISE, None),
    "1 missing": (NOISE, 1),
    "2 missing": (NOISE, 2),
    "4 missing": (NOISE, 4),
}


@dataclass(frozen=True)
class Row:
    """What is known of a network with a head; None where it was not trained.

    Attributes:
        network, head: Which.
        parameters: That training moves.
        multiply_adds: With a weight of a linear map, of one pose.
        poses_per_second: By batch size.
        seconds: Time of the optimiser steps.
        mpjpe: Millimetres on the test pairs, by condition.
        likely: The same of the most likely integer tokens.
        p_mpjpe: After a similarity, by condition.
    """

    network: str
    head: str
    parameters: int
    multiply_adds: int
    poses_per_second: dict[str, float]
    seconds: float | None
    mpjpe: dict[str, float] | None
    likely: dict[str, float | None] | None
    p_mpjpe: dict[str, float] | None


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = lifter_parser(DESCRIPTION, 2000, 128)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--heads", nargs="+", default=["coordinates", "tokens"], choices=list(HEADS))
    work = parser.add_mutually_exclusive_group()
    work.add_argument("--train-only", action="store_true", help="for trainings on several cores at once")
    work.add_argument("--measure-only", action="store_true", help="what is not trained is counted and timed")
    parser.add_argument("--seconds", type=float, default=20.0, help="of timing a batch size (default: %(default)s)")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    for network in options.networks if not options.measure_only else ():
        for head in options.heads:
            train(network, head, options)
    if not options.train_only:
        report(options)
    return 0


def folder_of(network: str, head: str, options: argparse.Namespace) -> Path:
    """Return where a run is."""
    return Path(options.runs) / f"{network}_{head}"


def train(network: str, head: str, options: argparse.Namespace) -> None:
    """Train a network with a head unless that was done."""
    folder = folder_of(network, head, options)
    if (folder / MODEL_FOLDER / "config.json").exists():
        return
    print(f"training {network} to {head}", file=sys.stderr)
    run = run_of(network, head, options)
    train_lifter(run, prepare_folder(run, resume=True, force=False), progress_bar)


def run_of(network: str, head: str, options: argparse.Namespace) -> LifterRun:
    """Return the config of a training."""
    settings = [
        f"out={folder_of(network, head, options)}",
        f"data.train={options.mocap}",
        f"lifter.network={network}",
        "lifter.width=null",
        "lifter.depth=null",
        f"steps={options.steps * (LONGER if head == 'longer' else 1)}",
        f"batch_size={options.batch_size}",
        f"threads={options.threads}",
        "precision=bf16",
        "optim.warmup_steps=100",
        f"val_every={options.steps // 3}",
        *NETWORKS.get(network, ()),
    ]
    return load_run("lifter", CONFIGS / HEADS[head], settings)


def test_pairs(mocap: str) -> PosePairs:
    """Return every frame of the test clips, seen by one random camera."""
    bodies = split_mocap(load_mocap(mocap)).test
    return photograph(bodies, torch.Generator().manual_seed(20_000))


def report(options: argparse.Namespace) -> None:
    """Measure what is trained, and write numbers and page."""
    pairs, tokenizer = test_pairs(options.mocap), PoseTokenizer.from_pretrained(TOKENIZER)
    lifters: dict[tuple[str, str], Lifter] = {}
    trained = set()
    for network in (*options.networks, *ONLY_COUNTED):
        for head in HEADS:
            model = folder_of(network, head, options) / MODEL_FOLDER
            if (model / "config.json").exists():
                trained.add((network, head))
                lifters[network, head] = Lifter.from_pretrained(model)
            elif head == "coordinates" or (head == "tokens" and network not in ONLY_COUNTED):
                needed = tokenizer if head == "tokens" else None
                lifters[network, head] = build_lifter(run_of(network, head, options), H36M17, needed).eval()
    speed = measure_speed({f"{n} {h}": lifter for (n, h), lifter in lifters.items()}, options.seconds)
    rows = []
    for (network, head), lifter in lifters.items():
        print(f"measuring {network} to {head}", file=sys.stderr)
        errors = None
        if (network, head) in trained:
            errors = {name: evaluate_lifter(lifter, pairs, *condition) for name, condition in CONDITIONS.items()}
        rows.append(
            Row(
                network,
                head,
                count_parameters(lifter),
                count_multiply_adds(lifter).weights,
                speed[f"{network} {head}"],
                _seconds(folder_of(network, head, options)) if errors else None,
                {n: e.numbers["mpjpe"] for n, e in errors.items()} if errors else None,
                {n: e.numbers["likely_mpjpe"] for n, e in errors.items()} if errors else None,
                {n: e.numbers["p_mpjpe"] for n, e in errors.items()} if errors else None,
            )
        )
    mean = pairs.root_relative().mean(dim=0, keepdim=True)
    results = {
        "commands": COMMANDS,
        "steps": options.steps,
        "batch_size": options.batch_size,
        "poses": len(pairs),
        "clips": len(set(pairs.clip_index.tolist())),
        "subjects": sorted({pairs.subject_ids[int(c)] for c in pairs.clip_index}),
        "joints": H36M17.num_keypoints,
        "floor": tokenizer_floor(tokenizer, pairs),
        "mean_pose": float((pairs.root_relative() - mean).norm(dim=-1).mean()),
        "machine": describe_machine(torch.device("cpu")),
        "rows": [asdict(row) for row in rows],
    }
    out = Path(options.out)
    write_page(results, out)
    page = out / "lifters.md"
    write_atomically(page, "\n".join([page.read_text(encoding="utf-8"), clips_section(out)]).encode())
    print(json.dumps({f"{r.network} {r.head}": r.mpjpe for r in rows}, indent=1))


def tokenizer_floor(tokenizer: PoseTokenizer, pairs: PosePairs) -> float:
    """Return the MPJPE in millimetres of encoding the true poses and decoding them: what perfect tokens reach."""
    pairs = pairs.select(pairs.visible.all(dim=1))
    target = pairs.root_relative(tokenizer.space.root)
    decoded = tokenizer.decode(tokenizer.encode(target)).cpu() * tokenizer.space.report_scale
    return float(mpjpe(decoded, target).mean())


def _seconds(folder: Path) -> float:
    """Return the time of the steps of a run, from its log: validations and breaks are not in it."""
    return training_log(folder / METRICS, load_run("lifter", folder / "config.yaml", []).batch_size)[1]


if __name__ == "__main__":
    sys.exit(main())
