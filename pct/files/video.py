"""Videos: their frames as RGB arrays one at a time, and new ones from such arrays (OpenCV)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from pct.files.output import atomic_output, check_output
from pct.files.photo import PhotoError

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")
# Of files that do not say how fast they are.
_DEFAULT_FPS = 25.0


class VideoReader:
    """The frames of a video file.

    Args:
        path: The file.
        fps: Frames a second that are used, those nearest to even steps; all by default, or where the video has fewer.

    Attributes:
        fps: Frames a second that :meth:`frames` yields.
        num_frames: How many it should yield, as far as the file's header says; it may be wrong.

    Raises:
        PhotoError: If the file is missing, or no video that OpenCV can read.
    """

    def __init__(self, path: str | Path, fps: float | None = None) -> None:
        import cv2

        self.path = Path(path)
        if not self.path.is_file():
            raise PhotoError(f"{path}: no such video")
        capture = cv2.VideoCapture(str(path))
        own, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        opened = capture.isOpened()
        capture.release()
        if not opened:
            raise PhotoError(f"{path}: not a video, damaged, or of a codec that OpenCV does not read here")
        own = own if 0 < own < 1000 else _DEFAULT_FPS
        self.fps = own if fps is None else min(fps, own)
        self._step = own / self.fps
        self.num_frames = max(0, round(count / self._step))

    def frames(self) -> Iterator[np.ndarray]:
        """Yield the frames (H, W, 3), uint8 RGB, in order, turned as the camera noted.

        Raises:
            PhotoError: If not one frame can be read.
        """
        import cv2

        capture = cv2.VideoCapture(str(self.path))
        read = used = 0
        try:
            while capture.grab():
                read += 1
                # Only frames that are used are decoded.
                if read - 1 < round(used * self._step):
                    continue
                good, image = capture.retrieve()
                if not good:
                    break
                used += 1
                yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        finally:
            capture.release()
        if used == 0:
            raise PhotoError(f"{self.path}: no frame of the video can be read; it is damaged or truncated")


@contextmanager
def write_video(path: str | Path, fps: float, force: bool = False) -> Iterator[Callable[[np.ndarray], None]]:
    """Write frames of one size to an MP4 file; it appears under its name only when the block ends well.

    Args:
        path: The file, with suffix ``.mp4``; errors are those of :func:`pct.files.output.check_output`.
        fps: Frames a second.
        force: Whether an existing file is replaced.

    Yields:
        What appends a frame (H, W, 3), uint8 RGB; the first one sets the size, whose odd last row or column is cut off.
        It raises ValueError if a frame has another size, or videos cannot be written here.
    """
    import cv2

    path, opened = check_output(path, (".mp4",), force), dict[tuple[int, int], cv2.VideoWriter]()
    with ExitStack() as stack:

        def write(image: np.ndarray) -> None:
            # Colours of MP4 are stored for 2 x 2 pixels.
            height, width = (side - side % 2 for side in image.shape[:2])
            if not opened:
                # OpenCV goes by the suffix.
                temporary = stack.enter_context(atomic_output(path, force, ".tmp.mp4"))
                codec = cv2.VideoWriter.fourcc(*"mp4v")
                opened[width, height] = writer = cv2.VideoWriter(str(temporary), codec, fps, (width, height))
                stack.callback(writer.release)
                if not writer.isOpened():
                    raise ValueError(f"{path}: OpenCV cannot write MP4 videos of {width}x{height} pixels here")
            if (width, height) not in opened:
                raise ValueError(f"{path}: a frame has {width}x{height} pixels, the first {next(iter(opened))}")
            opened[width, height].write(np.ascontiguousarray(image[:height, :width, ::-1]))

        yield write
