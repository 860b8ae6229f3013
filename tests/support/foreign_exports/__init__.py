"""Untrained detectors by the packages of their families: their files, and the objects that their own code finds.

The Python of `make exports` runs these modules, in a process for each detector. It lacks our own packages.

    .venv-exports/bin/python -m tests.support.foreign_exports ultralytics yolo11n /tmp/folder

| module | what it has |
|---|---|
| `untrained` | weights that spread the scores, and the picture |
| `own` | what a family's own code finds, as files |
| `of_…` | the detectors of one package |
"""
