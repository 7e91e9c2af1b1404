#!/usr/bin/env python
"""How many photos of generated people one core draws in a second: benchmarks/people_speed.py [--num-images N]."""

from __future__ import annotations

import argparse
import time

import torch

from pct.people.scene import GeneratedPersons


def main() -> None:
    """Draw photos and print the speed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-images", type=int, default=500, help="number of photos (default: 500)")
    parser.add_argument("--image-size", type=int, default=256, help="side of the photos in pixels (default: 256)")
    options = parser.parse_args()
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    people = GeneratedPersons(options.num_images + 1, 1, options.image_size)
    people.scene(0)
    wall, busy = time.perf_counter(), time.process_time()
    hidden = labelled = 0
    for index in range(1, options.num_images + 1):
        visibility = people[index].visibility
        hidden, labelled = hidden + int((visibility == 1).sum()), labelled + int((visibility > 0).sum())
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    print(f"{options.num_images} photos of {options.image_size} pixels on one thread")
    print(f"  {options.num_images / wall:.0f} a second, {options.num_images / busy:.0f} a second of processor time")
    print(f"  {100 * hidden / labelled:.1f} % of the main persons' labelled joints are hidden")


if __name__ == "__main__":
    main()
