"""Every file format in and out, one file each, and the checks that they share."""
