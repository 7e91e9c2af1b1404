"""Small videos for tests."""

from __future__ import annotations

import numpy as np

from pct.files.video import write_video as open_video

# Colours that are far from each other: compression blurs, but does not mix them up.
COLOURS = np.array([[230, 20, 20], [20, 230, 20], [20, 20, 230], [230, 230, 20], [230, 20, 230], [20, 230, 230]])


def write_video(path, count: int = 6, fps: float = 10.0, size: tuple[int, int] = (48, 64)):
    with open_video(path, fps) as write:
        for number in range(count):
            write(np.full((*size, 3), COLOURS[number % 6], np.uint8))
    return path
