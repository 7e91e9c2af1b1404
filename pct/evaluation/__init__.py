"""How good models are: measures on plain arrays, and one engine for reports (page, metrics.json, pictures).

``metrics``, ``metrics3d`` and ``coco_ap`` are the measures, ``report`` is the engine, ``blocks`` what reports share;
``tokens``, ``photos`` and ``lifting`` are one task each.
"""
