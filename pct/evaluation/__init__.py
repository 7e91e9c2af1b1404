"""How good models are: measures on plain arrays, and one engine for reports (page, metrics.json, pictures).

``metrics``, ``metrics3d`` and ``coco_ap`` are the measures, which ``poses`` brings together; ``report`` is the engine,
``blocks`` what reports share. ``tokens``, ``photos`` and ``lifting`` are one task each, all of one shape:
``evaluate_*`` returns numbers as plain values and the poses they are of, and ``*_report`` turns these into a page.
"""
