"""`docs/reference/` from the code: `make reference` writes it, and a test fails where a page differs.

| module | idea |
|---|---|
| `markdown` | tables and paragraphs; pure |
| `structs` | a msgspec struct as a table of its fields; pure |
| `settings`, `events`, `rules`, `streams`, `scaledobject`, `cli`, `metrics`, `http` | one page each |
| `pages` | all pages, by file name |
"""
