"""All of one camera, from detections to what is published. Pure: no clock, no I/O.

shared log EVENTS -> order -> following -> places -> conditions -> incidents -> statements
                                                 -> counts
"""
