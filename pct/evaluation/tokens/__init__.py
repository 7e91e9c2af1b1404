"""Evaluation of tokenizers: reconstruction, completion, use of the codebook, and what tokens are worth.

:func:`~pct.evaluation.tokens.files.run_evaluation` goes from a file of poses to a report.
"""
