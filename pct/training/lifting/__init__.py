"""Recipe of lifters: pairs of 2D and 3D poses to a trained lifter."""
