"""Models: the pose tokenizer, its networks, checkpoints and conversion of published weights."""
