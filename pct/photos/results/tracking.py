"""Persons followed from frame to frame, by the package `trackers` (its room)."""

from __future__ import annotations

import numpy as np

from pct.packages import explain_missing

# Scores from which a box begins a track, and is matched first: small detectors are seldom surer.
_SURE = 0.3
_DEFAULT_FPS = 30.0


class PersonTracker:
    """Follows the persons of one video by their boxes ("ByteTrack", Zhang et al., 2022).

    Args:
        fps: Frames a second of the video; 30 where it is not known.
    """

    def __init__(self, fps: float | None = None) -> None:
        with explain_missing():
            from supervision import Detections
            from trackers import ByteTrackTracker
        self._detections = Detections
        self._tracker = ByteTrackTracker(
            frame_rate=fps or _DEFAULT_FPS,
            track_activation_threshold=_SURE,
            high_conf_det_threshold=_SURE,
            minimum_consecutive_frames=1,
        )

    def update(self, boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return the tracks (N,), int64, of the next frame's boxes: 1, 2, ..., or -1 for a box that is in none yet.

        Args:
            boxes: (N, 4) as x, y, width, height in image pixels.
            scores: Of the boxes (N,).
        """
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
        found = self._detections(xyxy=corners, confidence=scores, data={"row": np.arange(len(boxes))})
        found = self._tracker.update(found)
        ids = np.full(len(boxes), -1, np.int64)
        if len(found):
            # It gives them back in another order, and counts from 0.
            tracks = np.asarray(found.tracker_id, np.int64)
            ids[np.asarray(found.data["row"], np.int64)] = np.where(tracks < 0, -1, tracks + 1)
        return ids
