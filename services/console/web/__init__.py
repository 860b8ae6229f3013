"""The application: authorization, errors, headers and files.

| module | idea |
|---|---|
| `needs` | the role that a route needs |
| `refused`, `errors` | an error with its status; every error as JSON with one sentence |
| `headers` | security headers, and the sub-path behind a proxy |
| `files` | the pages' files, read and compressed once |
| `times` | times in requests |
| `disconnects` | work that ends if its browser disconnects |
| `console` | what all routes share |
| `gate` | authenticates the user, and authorizes by role |
| `openapi` | the API as OpenAPI 3.1 |
| `app` | all routes behind the gate |
| `server` | the process: connections, background work, uvicorn |
"""
