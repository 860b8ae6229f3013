"""What a release is made of: its version in all files, and the artefacts of a tag.

| module | idea |
|---|---|
| `version` | `python -m tools.release.version`: the version in all files that repeat it |
"""
