"""Evaluation of models that read photos, of 2D and of 3D poses, and the calibration of their confidence.

:func:`~pct.evaluation.photos.files.run_photo_evaluation` goes from an annotation file to a report.
"""
