"""Recipe of stage one: poses to a trained tokenizer."""
