"""Whether a small picture shows what an earlier one showed: light, camera shake and each block's noise apart. Pure.

| module | idea |
|---|---|
| `picture` | the small picture |
| `compare` | the difference between two of them |
| `noise` | each block's own noise |
| `full_inference` | when a segment is processed in full, on any replica |
| `answers` | a camera's earlier answers of a model, and which of them holds for new pictures |
| `cache` | the answers of all cameras, and how long they may be reused |
"""
