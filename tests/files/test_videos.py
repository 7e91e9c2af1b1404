"""Videos: what is written is read back, frames by time, broken files."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_videos import COLOURS, write_video

from pct.files.photo import PhotoError
from pct.files.video import VideoReader
from pct.files.video import write_video as open_video


@pytest.mark.parametrize(("wanted", "fps", "step"), [(None, 10, 1), (5, 5, 2), (100, 10, 1)])
def test_frames_come_in_order_with_their_colours_spread_evenly(tmp_path, wanted, fps, step) -> None:
    reader = VideoReader(write_video(tmp_path / "a.mp4"), fps=wanted)
    frames = list(reader.frames())
    assert reader.fps == fps
    assert reader.num_frames == len(frames) == 6 // step
    assert frames[0].shape == (48, 64, 3)
    for frame, colour in zip(frames, COLOURS[::step], strict=True):
        assert np.abs(frame.mean(axis=(0, 1)) - colour).max() < 25


def test_frames_of_odd_size_lose_a_row(tmp_path) -> None:
    frames = list(VideoReader(write_video(tmp_path / "a.mp4", size=(49, 65))).frames())
    assert frames[0].shape == (48, 64, 3)


def test_a_video_appears_only_when_it_is_whole(tmp_path) -> None:
    def write_two_sizes() -> None:
        with open_video(tmp_path / "a.mp4", 10) as write:
            write(np.zeros((48, 64, 3), np.uint8))
            write(np.zeros((32, 32, 3), np.uint8))

    with pytest.raises(ValueError, match="32x32"):
        write_two_sizes()
    assert list(tmp_path.iterdir()) == []
    write_video(tmp_path / "a.mp4")
    with pytest.raises(FileExistsError):
        write_video(tmp_path / "a.mp4")


def test_broken_videos_are_refused(tmp_path, capfd) -> None:
    with pytest.raises(PhotoError, match="no such video"):
        VideoReader(tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("no video at all")
    with pytest.raises(PhotoError, match="not a video"):
        VideoReader(tmp_path / "text.mp4")
