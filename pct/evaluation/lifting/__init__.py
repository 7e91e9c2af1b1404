"""Evaluation of lifters: 2D poses to 3D, as the literature measures it.

:func:`~pct.evaluation.lifting.evaluate.evaluate_lifter` measures, ``lifting_report`` reports.
"""
