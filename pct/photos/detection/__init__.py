"""Where the persons on photos are: detectors, and boxes from files."""
