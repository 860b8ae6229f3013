"""The site file: what a site has, declared in one place, and how it is applied.

| module | idea |
|---|---|
| `format` | the file: its fields, its mistakes, its JSON Schema |
| `merging` | several files as one |
| `references` | the variables and files that a file refers to |
| `state` | what a site has now |
| `webhook` | the declared endpoint of alerts, next to the stored one |
| `plan` | the changes that turn the present state into the declared one |
| `journal` | all changes, or none |
| `export` | the file of a present state |
"""
