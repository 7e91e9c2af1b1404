#!/usr/bin/env python
"""Split a COCO-format file by photo: tools/split_photos.py ANNOTATIONS FIRST SECOND --share 0.3."""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path
from typing import Any

from pct.files.output import check_output, write_atomically

DESCRIPTION = """\
Split a COCO-format file into two with no photo in both, so that the one can be trained and the other tested on.
All fields are kept; photos without a person go with the others.

  tools/split_photos.py coco_photos/annotations.json train.json test.json --share 0.3"""


def split_photos(content: dict[str, Any], share: float, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split the content of a COCO file; ``share`` of the images, at least one, go to the second part."""
    ids = sorted(image["id"] for image in content["images"])
    second = set(random.Random(seed).sample(ids, max(1, round(share * len(ids)))))

    def part(wanted: bool) -> dict[str, Any]:
        return {
            **content,
            "images": [image for image in content["images"] if (image["id"] in second) == wanted],
            "annotations": [a for a in content["annotations"] if (a["image_id"] in second) == wanted],
        }

    return part(False), part(True)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations", help="COCO-format file")
    parser.add_argument("first", help="file for the larger part")
    parser.add_argument("second", help="file for the smaller part")
    parser.add_argument("--share", type=float, default=0.3, help="share of the photos in the second (default: 0.3)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: 0)")
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    options = parser.parse_args(argv)
    try:
        if not 0 < options.share < 1:
            raise ValueError(f"share must be between 0 and 1, got {options.share}")
        for path in (options.first, options.second):
            check_output(path, force=options.force)
        content = json.loads(Path(options.annotations).read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not content.get("images") or "annotations" not in content:
            raise ValueError(f"{options.annotations}: a COCO file has images and annotations")
        parts = split_photos(content, options.share, options.seed)
        for path, part in zip((options.first, options.second), parts, strict=True):
            write_atomically(Path(path), json.dumps(part).encode())
            print(f"{path}: {len(part['images'])} photos, {len(part['annotations'])} persons")
    except (ValueError, OSError, KeyError, TypeError) as error:
        print(f"split_photos: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
