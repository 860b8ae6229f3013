"""Frames with what was detected and followed in them, and plots."""
