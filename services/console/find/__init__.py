"""The page Find: moments by words, by a picture, by likeness to an earlier moment, or by labels.

The search service gets the cameras that the user may see, and its answer is filtered again: see `search_client`.

| module | idea |
|---|---|
| `searches` | the API's searches and their answers; pure |
| `saved_searches` | each person's saved searches |
| `search_client` | queries of the search service, only about cameras that the user may see |
| `export` | moments as CSV |
| `state`, `routes` | the state of the page; its routes |
"""
