"""`make gpu`: how many cameras this machine's GPU carries, and the numbers that an overlay needs for it.

| module | idea |
|---|---|
| `machine` | what is here: the GPU, its driver, torch; and what is missing |
| `footage` | segments of 1080p25 as cameras send them |
| `untrained` | a detector of the overlays' architecture, where no hub can be reached |
| `stages` | decoding, copying and the models apart |
| `backlog` | a real service that works off a backlog |
| `plan` | from figures to cameras, cores, thresholds; pure |
| `overlay` | these numbers as kustomize components; pure |
| `report` | all of it, as data and for a terminal |
| `measuring` | the order of things, and the files that are left |

`__main__` has the options, and says what is missing.
"""
