"""Degradable work: while capacity is short, part of each segment is analysed, and the rest later. Pure.

| module | idea |
|---|---|
| `levels` | the analysed frames of a segment, in a few steps |
| `brownout` | the choice of a level, by the age of a segment |
| `sampling_plan` | the analysed and the wanted part of a segment |
| `costs` | the learned replica time of a segment |
"""
