"""What a detector costs: its speed, its capacity, whether its boxes can be right, and the one that `tidegate up` runs.

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
| `scaling` | the ScaledObject for a rate and a latency target |
| `store` | the measured models of a data directory: the one that `up` runs |
"""
