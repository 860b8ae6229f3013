"""Cuts a connection's packets into segments. Runs in the camera's thread, and touches neither network nor disk.

| module | idea |
|---|---|
| `clock` | puts a camera's timestamps on the wall clock |
| `cutter` | decides where segments begin: at keyframes, or inside a long GOP |
| `parameters` | follows the parameter sets of a stream, which a camera may change with any keyframe |
| `recovery_points` | finds the segment to decode from, with intra refresh |
| `muxer` | writes packets as one fragmented MP4 |
| `piece` | a segment on its way to JetStream |
| `segmenter` | makes segments of packets, with all of the above |
"""
