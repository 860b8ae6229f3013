"""Batch analysis of recordings, by the detectors, trackers and rules that analyse live video.

| module | idea |
|---|---|
| `job` | the settings of a run, and the pieces of video that it processes |
| `recorded_files` | the recorded files of a time span |
| `sync_store` | a blocking interface to a folder or a bucket |
| `rows` | results as Parquet rows, and events from those rows |
| `frames` | one piece: decoded, detected, embedded; a camera's tracks; a measurement before a run |
| `captions` | captions from a vision language model |
| `estimate` | the predicted duration and cost |
| `engines` | execution by processes of this machine, by idle replicas of cv, or by a Ray cluster |
| `run` | the state of a run: planned once, processed piece by piece, resumable |
| `results` | the report; results as past events; the progress for the console |
| `planning` | a run's request, and its job and pieces |
"""
