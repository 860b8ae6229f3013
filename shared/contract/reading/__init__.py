"""Reading what other programs write: limits of a value, each mistake by its place, and messages that are missing.

| module | idea |
|---|---|
| `bounds` | the limits of a message |
| `mistakes` | every mistake in a value, each with its place |
| `schema` | JSON Schema of a struct |
| `missing` | tells a missing message from an unreadable one |
| `entries` | every entry of a bucket |
| `handwritten` | YAML and JSON that people write |
"""
