"""How good models are: measures on plain arrays, and one engine for reports (page, metrics.json, pictures).

``metrics`` and ``metrics3d`` are the measures, ``report`` is the engine; ``tokens``, ``photos`` and ``lifting`` are one
task each: ``evaluate.py`` measures a model, ``report.py`` says what the report shows.
"""
