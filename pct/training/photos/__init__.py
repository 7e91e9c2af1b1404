"""Recipe of stage two: photos to a trained classifier or heatmap model."""
