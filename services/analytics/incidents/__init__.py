"""Incidents from true rules. Pure.

| module | idea |
|---|---|
| `state` | what a restart must find |
| `verification` | requests to a vision language model, verdicts, and alerts |
| `lifecycle` | how incidents begin, go on and end: the table of phases |
"""
