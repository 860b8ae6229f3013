"""Untrained detectors by the packages of their families: their files, and the objects that their own code finds.

The Python of `make exports` runs these modules but `comparison`, in a process for each detector. It has none of our own
packages.

    .venv-exports/bin/python -m tests.support.foreign_exports ultralytics yolo11n /tmp/folder

| module | what it has |
|---|---|
| `untrained` | weights that spread the scores, and the picture |
| `own` | what a family's own code finds, as files |
| `of_…` | the detectors of one package |
| `comparison` | our reading of a file next to that, in our own Python |
"""
