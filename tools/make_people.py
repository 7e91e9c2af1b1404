#!/usr/bin/env python
"""Write photos of generated people as a COCO-format data set: tools/make_people.py OUT --num-images N --seed S."""

from __future__ import annotations

import argparse
import sys

import torch

from pct.data.people_files import write_people
from pct.data.people_scene import SceneSource

DESCRIPTION = """\
Write photos of generated people with COCO keypoints, boxes, areas and 3D joints.

  tools/make_people.py people/train --num-images 30000 --seed 1 --workers 2
  tools/make_people.py people/val --num-images 1000 --seed 2 --backgrounds photos/

OUT receives annotations.json (COCO format) and images/. The same options give the same files."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", help="folder to write")
    parser.add_argument("--num-images", type=int, required=True, help="number of photos")
    parser.add_argument("--seed", type=int, required=True, help="the same seed gives the same photos")
    parser.add_argument("--first-index", type=int, default=0, help="number of the first scene (default: 0)")
    parser.add_argument("--image-size", type=int, default=256, help="side of the photos in pixels (default: 256)")
    parser.add_argument("--backgrounds", metavar="FOLDER", help="photos for the background (default: drawn ones)")
    parser.add_argument("--mocap", metavar="FILE", help=".npz file that half of the postures are from")
    parser.add_argument("--quality", type=int, help="JPEG quality, 1 to 100 (default: from 35 to 95, drawn)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--force", action="store_true", help="replace a data set that is there")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        return _run(options)
    except (ValueError, OSError) as error:
        print(f"make_people: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("make_people: interrupted; nothing was written", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    source = SceneSource.open(
        options.seed,
        image_size=options.image_size,
        backgrounds=options.backgrounds,
        mocap=options.mocap,
        quality=options.quality,
    )
    with tqdm(total=options.num_images, unit="photo", disable=options.quiet) as bar:
        written = write_people(
            options.out,
            source,
            options.num_images,
            first_index=options.first_index,
            workers=options.workers,
            force=options.force,
            progress=bar.update,
        )
    print(f"{options.out}: {written.num_images} photos, {written.num_persons} persons")
    return 0


if __name__ == "__main__":
    sys.exit(main())
