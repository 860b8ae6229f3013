"""What is asked of a running system, by whoever has the rights.

| module | idea |
|---|---|
| `registry` | cameras: added, changed, listed, removed; what ingest and workers last said of one |
| `rules` | the rules of cameras, and the picture they are drawn into |
| `dlq` | dead letters: read, and put back to work |
| `tracks` | what analytics followed on a camera |
| `explain` | what the scalers that run say of a service's replicas |
| `find`, `ask` | moments of search and their video; a question to a vision language model |
| `rates` | how fast what is heard of it arrives, how late, and what was seen last |
"""
