"""The page Models: the detectors that run, and those that `tidegate model add` measured.

| module | idea |
|---|---|
| `library` | the measured models of CONSOLE_MODELS, and the active one |
| `answers` | the bodies of replies |
| `state` | the state of the page |
| `routes` | the API |
"""
