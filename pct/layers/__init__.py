"""Layers: mixers and quantizers."""
