"""Files of 3D poses: motion capture, Human3.6M, MPI-INF-3DHP and plain arrays."""
