"""Generated people: bodies, photos of them, and their labels; training data without any download."""
