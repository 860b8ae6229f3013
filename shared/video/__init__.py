"""Frames out of a segment's bytes, the GOP that a segment was cut out of, and pictures out of frames."""
