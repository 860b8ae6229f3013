"""What was recorded, looked at a second time: by the same detectors, trackers and rules as live.

| module | idea |
|---|---|
| `job` | what a run is asked, and the pieces of video that it is made of |
| `place` | objects in a folder or a bucket, for programs that wait for each |
| `rows` | what was found, as Parquet and back |
| `reading` | one piece, read and decoded |
| `looking` | looked at, and written |
| `embedding` | vectors of a piece |
| `chapters` | which stretches are captioned, and what shows each |
| `captioning`, `footage` | a vision language model asked of them; the frames that it is shown |
| `finding` | which files there are of a time |
| `asking` | what is asked, with what a running system knows of its cameras |
| `options` | what options say, and the environment where they say nothing |
| `probe` | one look before a run: whether the model works, and how fast it is |
| `estimate`, `words` | what a run would take and cost, before it begins; that and what it found, in words |
| `local` | pieces by processes of this machine |
| `on_ray` | pieces by a cluster of Ray |
| `following` | tracks and incidents, camera by camera, once all is looked at |
| `runs` | a run: planned once, done piece by piece, gone on with |
| `telling` | what was found, told to search |
| `shown` | how far a run is, for the console |
| `report` | what a run found, with pictures |
"""
