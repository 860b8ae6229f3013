"""The demo: RTSP cameras, a surge, autoscaled workers, and a report.

| module | idea |
|---|---|
| `clips`, `footage`, `bank` | real video as segments, and by RTSP cameras |
| `full_hd` | segments of 1080p25 as cameras send them |
| `sizing` | the load, from the measured rate of a worker |
| `timeline` | a plot of the run |
| `scenario` | two cameras, a surge, two, none |
| `report` | what a run leaves behind |
| `incidents`, `search` | the demo's rules; its search over its own footage |
| `smoke_test` | one segment cut, decoded and analysed without a server |
| `demo` | the whole demo, and then two cameras until Ctrl-C |
"""
