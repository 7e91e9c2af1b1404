"""Photos of generated people, as a COCO data set.

Write photos of generated people with COCO keypoints, boxes, areas and 3D joints.

OUT receives annotations.json (COCO format) and images/. The same options give the same files.
"""

from __future__ import annotations

import argparse

EXAMPLES = """\
examples:
  pct make-people people/train --num-images 30000 --seed 1 --workers 2
  pct make-people people/val --num-images 1000 --seed 2
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("out", metavar="OUT", help="folder to write")
    parser.add_argument("--num-images", type=int, required=True, metavar="N", help="number of photos")
    parser.add_argument("--seed", type=int, required=True, help="the same seed gives the same photos")
    parser.add_argument("--image-size", type=int, default=256, metavar="N", help="side in pixels (default: 256)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument("--force", action="store_true", help="replace a data set that is there")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> None:
    """Draw the photos and write the set."""
    import torch
    from tqdm import tqdm

    from pct.people.scene import GeneratedPersons
    from pct.people.write import write_people

    torch.set_num_threads(1)
    people = GeneratedPersons(args.num_images, args.seed, args.image_size)
    with tqdm(total=len(people), unit="photo", disable=args.quiet) as bar:
        number = write_people(args.out, people, args.workers, args.force, bar.update)
    print(f"{args.out}: {len(people)} photos, {number} persons")
