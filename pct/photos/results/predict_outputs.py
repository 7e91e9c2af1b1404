"""What predicting on photos writes: results person by person, drawn photos and drawn videos."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from pct.drawing.poses2d import write_jpeg
from pct.files.video import VideoWriter
from pct.photos.results.result import PoseResult

DRAWN_FOLDER = "drawn"


class ResultsWriter:
    """Writes a results file person by person; see :func:`pct.photos.results.predict_files.predict_files`.

    Args:
        file: Open for bytes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.count = file, 0

    def write(self, result: PoseResult, image_id: int) -> None:
        """Append the persons of a photo."""
        for summary in result.summary():
            self.count += 1
            entry = {"image_id": image_id, "category_id": 1, **summary, "id": self.count}
            self.file.write((b",\n" if self.count > 1 else b"[\n") + json.dumps(entry, allow_nan=False).encode())

    def finish(self) -> None:
        """End the list."""
        self.file.write(b"\n]\n" if self.count else b"[]\n")


class Pictures:
    """Writes drawn photos and videos into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack, self.video, self.video_name = ExitStack(), None, ""

    video: VideoWriter | None

    def write(self, result: PoseResult) -> None:
        """Draw a photo, or the next frame of a video."""
        source, fps = result.frame.source, result.frame.fps
        assert source is not None
        if fps is None:
            write_jpeg(result.draw(), self._path(source.name, (".jpg", ".jpeg")))
            return
        if self.video is None or self.video_name != source.name:
            self.stack.close()
            path = self._path(source.name, (".mp4",))
            self.video, self.video_name = self.stack.enter_context(VideoWriter(path, fps)), source.name
        self.video.write(result.draw())

    def _path(self, name: str, suffixes: tuple[str, ...]) -> Path:
        path = self.folder / name
        if path.suffix.lower() not in suffixes:
            path = path.with_name(path.name + suffixes[0])
        path.parent.mkdir(parents=True, exist_ok=True)
        # `a.png` and `a.png.jpg` would be drawn into the same file.
        free, number = path, 2
        while free.exists():
            free, number = path.with_name(f"{path.stem}_{number}{path.suffix}"), number + 1
        return free


@contextmanager
def open_pictures(folder: Path) -> Iterator[Pictures]:
    """Give what draws into ``drawn/`` in a folder."""
    pictures = Pictures(folder / DRAWN_FOLDER)
    pictures.folder.mkdir()
    with pictures.stack:
        yield pictures
        pictures.stack.close()
