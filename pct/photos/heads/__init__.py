"""Heads on a backbone's features: logits of tokens, and heatmaps."""
