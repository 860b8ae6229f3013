"""The page Site: the site file of what runs, and its changes.

| module | idea |
|---|---|
| `document` | a site file as people give it to a browser; pure |
| `comparison` | what a file changes; pure |
| `answers` | the bodies of replies |
| `applying` | one apply at a time, its progress and its result |
| `state` | the state of the page |
| `routes` | the API |
"""
