"""Layers that rooms share: mixers, losses, linear maps of fixed weights."""
