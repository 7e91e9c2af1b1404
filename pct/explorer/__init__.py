"""The token explorer: one HTML page where a pose is dragged and its tokens are read, changed and decoded."""
