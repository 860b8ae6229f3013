"""What a detector costs, whether its boxes can be right, where two differ, and the one that `tidegate up` runs.

| module | idea |
|---|---|
| `capacity` | from rates to a batch, threads, cameras and their cost; pure |
| `doubts` | what looks wrong with a detector's boxes; pure |
| `footage` | segments to measure on, with what they need to be decoded |
| `speed` | a detector's rate by batch size, next to its runtime's own |
| `variants` | the devices, runtimes and precisions by which a detector can run here |
| `replica` | the rate of a replica: decoding and detection together |
| `sheet`, `boxes` | a contact sheet; a detector's objects in frames of footage |
| `choice` | threads and batch, by their measured rates |
| `labels`, `agreement` | which labels are of one class; where two detectors agree on the objects of a frame; pure |
| `scaling` | the ScaledObject for a rate and a latency target |
| `store` | the measured models of a data directory: the one that `up` runs |
| `candidate` | a detector to compare: a stored model, or a value of CV_MODEL |
| `differences` | a contact sheet with the boxes of two detectors |
| `comparison`, `arriving` | two detectors on the same frames, of stored video and of segments as they arrive |
| `verdict` | the result of a comparison, in numbers and in words |
"""
