"""Converters of other people's published weights."""
