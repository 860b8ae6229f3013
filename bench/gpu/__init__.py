"""`make gpu`: how many cameras this machine's GPU carries, and the numbers that an overlay needs for it.

| module | idea |
|---|---|
| `machine` | the GPU, its driver and torch; missing parts |
| `untrained` | a detector of the overlays' architecture, for machines that can't reach the model hub |
| `stages` | decoding, copying and the models separately |
| `backlog` | a real service that processes a backlog |
| `plan` | from figures to cameras, cores, thresholds; pure |
| `overlay` | these numbers as kustomize components; pure |
| `report` | the results, as data and for a terminal |
| `measuring` | the sequence of measurements, and the output files |

`__main__` has the options, and reports missing packages.
"""
