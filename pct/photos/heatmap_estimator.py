"""HeatmapEstimator: what a :class:`~pct.photos.estimator.PoseEstimator` of a heatmap model was once called."""

from pct.photos.estimator import PoseEstimator as HeatmapEstimator

__all__ = ["HeatmapEstimator"]
