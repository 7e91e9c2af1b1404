"""From photos to 3D tokens: persons are found, their poses read off as tokens, lifted, and written as 3D tokens.

  python examples/photo_to_3d.py photo.jpg another.jpg -o poses3d.jpg

Each row of the picture is a person: the photo, the pose as the 3D tokens decode to it, and the same from its side. What
stands behind what is the lifter's guess: there is no 3D truth for photos like these.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from PIL import Image

from pct import PoseEstimator, PoseTokenizer
from pct.drawing.panels import picture_gallery
from pct.drawing.poses2d import PoseLayer, write_jpeg
from pct.drawing.poses3d import FRONT, TURNED, draw_pose_3d
from pct.lifting.lifter import Lifter
from pct.lifting.pose2d_bridge import bridge_poses2d

SIZE = 320


def cut_out(picture: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the square around a box (x1, y1, x2, y2) of a picture (H, W, 3), white where the picture ends."""
    (x, y), side = (box[:2] + box[2:]) / 2, 1.2 * (box[2:] - box[:2]).max()
    corners = [int(v) for v in (x - side / 2, y - side / 2, x + side / 2, y + side / 2)]
    return np.asarray(Image.fromarray(255 - picture).crop(corners).resize((SIZE, SIZE))) ^ 255


def main() -> None:
    """Read off, lift, encode and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", help="photos of people")
    parser.add_argument("-o", "--out", required=True, help="picture: .jpg")
    parser.add_argument("--most", type=int, default=2, help="persons a photo, the surest first (default: %(default)s)")
    args = parser.parse_args()
    estimator, lifter = PoseEstimator.from_pretrained(flip=True), Lifter.from_pretrained("lifter")
    tokenizer = PoseTokenizer.from_pretrained("h36m17")
    pictures, captions = [], []
    for result in estimator(args.photos):
        drawn = np.asarray(result.plot())
        for person in np.argsort(-result.keypoints.conf.mean(axis=1))[: args.most]:
            found = torch.from_numpy(result.keypoints.xy[person][None])
            seen = torch.ones(found.shape[:2], dtype=torch.bool)
            joints, known = bridge_poses2d(found, seen, estimator.skeleton, lifter.skeleton)
            lifted = lifter.lift(joints, known, flip=True).keypoints
            indices = tokenizer.encode(lifted)
            pose = PoseLayer(tokenizer.decode(indices, torch.zeros(1, 3))[0].numpy())
            pictures += [cut_out(drawn, result.boxes.xyxy[person])]
            pictures += [draw_pose_3d([pose], tokenizer.skeleton, view, SIZE) for view in (FRONT, TURNED)]
            captions += ["photo", "3D tokens " + " ".join(map(str, indices[0, :5].tolist())) + " …", "from the side"]
    if not pictures:
        raise SystemExit("no person was found")
    write_jpeg(picture_gallery(pictures, captions, columns=3), args.out, force=True)


if __name__ == "__main__":
    main()
