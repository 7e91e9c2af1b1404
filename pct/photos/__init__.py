"""Stage two: photos of persons to tokens and poses."""
