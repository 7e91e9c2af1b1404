"""What estimating poses on photos gives: results in memory, and the files that `pct predict` writes."""
