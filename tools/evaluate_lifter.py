#!/usr/bin/env python
"""Measure a trained lifter on test poses, with the protocols of the literature."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pct.cli.main import guard

if TYPE_CHECKING:
    from pct.lifting.lifter import Lifter
    from pct.lifting.pairs import PosePairs

DESCRIPTION = """\
Measure a lifter: MPJPE, P-MPJPE and N-MPJPE in millimetres, PCK at 150 mm, AUC, and MPJPE by action.

  tools/evaluate_lifter.py runs/lifter_mocap/model --mocap mocap_h36m17.npz
  tools/evaluate_lifter.py runs/lifter_mocap/model --mocap mocap_h36m17.npz --missing 2 --noise
  tools/evaluate_lifter.py runs/lifter_h36m/model --h36m h36m.npz --detections cpn_ft_h36m_dbb --flip
  tools/evaluate_lifter.py runs/lifter_h36m/model --mpi-inf-3dhp mpi_inf_3dhp_test_set

Mocap: the test clips of the shipped split, each frame seen by one random camera. Human3.6M: S9 and S11, converted once
by tools/convert_h36m.py; the mean of the actions is unweighted. MPI-INF-3DHP: the valid frames of its test set; PCK and
AUC over its 14 joints. Poses are centred at the hip by subtracting the predicted one."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of a lifter, such as RUN/model, or hf:user/model")
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--mocap", metavar="FILE", help="mocap .npz")
    data.add_argument("--h36m", metavar="FILE", help="converted Human3.6M .npz")
    data.add_argument("--mpi-inf-3dhp", metavar="FOLDER", help="folder of its test set")
    parser.add_argument("--detections", default="projected", help="2D poses of --h36m (default: %(default)s)")
    parser.add_argument("--noise", action="store_true", help="put a detector's errors on the 2D joints")
    parser.add_argument("--missing", type=int, metavar="N", help="each 2D pose lacks N joints")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored pose")
    parser.add_argument("--seed", type=int, default=0, help="of cameras and errors (default: %(default)s)")
    parser.add_argument("--out", metavar="FOLDER", help="write a report: page, numbers as JSON, pictures")
    parser.add_argument("--force", action="store_true", help="replace a report that is there")
    options = parser.parse_args(argv)
    return guard("evaluate_lifter", lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    from pct.evaluation.lifting import evaluate_lifter, lifting_report
    from pct.evaluation.report import check_report_folder, write_report
    from pct.lifting.detector_noise import NoiseConfig
    from pct.lifting.lifter import Lifter

    if options.out:
        check_report_folder(options.out, options.force)
    lifter = Lifter.from_pretrained(options.model)
    noise = NoiseConfig(missing_share=0.0) if options.noise else None
    pairs, data = _load(options, lifter), Path(options.h36m or options.mpi_inf_3dhp or options.mocap).name
    found = evaluate_lifter(lifter, pairs, noise, options.missing, options.flip, options.seed, data)
    numbers = found.numbers
    print(f"{numbers['poses']:,} poses")
    for name in ("mpjpe", "p_mpjpe", "n_mpjpe", "likely_mpjpe"):
        if numbers[name] is not None:
            print(f"{name.replace('_', '-'):14} {numbers[name]:8.1f} mm")
    print(f"{'pck@150':14} {100 * numbers['pck']:8.1f} %   over {len(numbers['pck_joints'])} joints")
    print(f"{'auc':14} {100 * numbers['auc']:8.1f} %")
    for action, value in numbers["per_action"].items():
        print(f"  {action:40} {value:8.1f} mm")
    if options.out:
        print(f"report: {write_report(lifting_report(found), options.out, options.force)}")


def _load(options: argparse.Namespace, lifter: Lifter) -> PosePairs:
    """Return the pairs that the options name, of the lifter's joints."""
    import torch

    if options.h36m:
        from pct.files.motion.pairs import load_h36m

        return load_h36m(options.h36m, detections=options.detections, skeleton=lifter.skeleton)
    if options.mpi_inf_3dhp:
        from pct.files.motion.pairs import load_mpi_inf_3dhp

        return load_mpi_inf_3dhp(options.mpi_inf_3dhp, skeleton=lifter.skeleton)
    from pct.files.motion.mocap import load_mocap, split_mocap
    from pct.lifting.pairs import photograph

    poses = split_mocap(load_mocap(options.mocap)).test
    return photograph(poses, torch.Generator().manual_seed(20_000 + options.seed))


if __name__ == "__main__":
    sys.exit(main())
