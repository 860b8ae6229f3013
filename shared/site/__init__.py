"""The site file: what a site has, declared in one place, and how it is applied.

| module | idea |
|---|---|
| `format` | the file: its fields, its mistakes, its JSON Schema |
"""
