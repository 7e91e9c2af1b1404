"""Training: configs, the loop and the steps of each stage."""
