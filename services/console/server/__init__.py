"""The server: mounts the routes of all pages behind the gate, with headers, files and the API's description.

| module | idea |
|---|---|
| `headers` | security headers, and the sub-path behind a proxy |
| `files` | the pages' files, read and compressed once |
| `openapi` | the API as OpenAPI 3.1 |
| `pages` | the state of every page |
| `app` | all routes behind the gate |
| `process` | the process: connections, background work, uvicorn |
"""
