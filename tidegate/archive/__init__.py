"""Batch analysis of recordings, by the detectors, trackers and rules that analyse live video.

| module | idea |
|---|---|
| `job` | the settings of a run, and the pieces of video that it processes |
| `recorded_files` | the recorded files of a time span |
| `sync_store` | a blocking interface to a folder or a bucket |
| `rows` | results as Parquet rows, and events from those rows |
| `embedding` | the vectors of a piece |
| `decoding` | one piece, read and decoded |
| `analysis` | one decoded piece: detections and vectors, as result files |
| `tracking` | tracks and incidents of a camera, from its detections |
| `chapters` | the stretches to caption, and the video of each |
| `probe`, `estimate` | a measurement before a run, and its predicted duration and cost |
| `captioner`, `footage` | captions from a vision language model, and the frames that it is shown |
| `run` | the state of a run: planned once, processed piece by piece, resumable |
| `local_engine`, `child` | execution by processes of this machine |
| `ray_engine`, `ray_driver` | execution by a Ray cluster |
| `live_engine`, `task_server`, `task_queue` | execution by idle replicas of cv |
| `past_events` | results as events, for search and for summaries of captions |
| `progress_publisher` | the progress of a run, for the console |
| `report`, `summary_text` | the results as a page with pictures, and as text |
| `planning` | a run's job, from the request and the camera settings of a running system |
| `options` | a run's request, from the command's options and the environment |
"""
