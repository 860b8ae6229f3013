"""Detections into what operators act on: tracks, zones and lines, incidents, alerts, counts. CPU alone.

    shared log EVENTS -> service -> partition -> camera: order -> tracker -> places -> conditions -> incidents
                                                                                    -> counts

`camera` and all right of it are pure. See docs/how-to/rules.md.
"""
