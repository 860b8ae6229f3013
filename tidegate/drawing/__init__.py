"""Frames with detections, tracks and rules drawn into them, and plots."""
