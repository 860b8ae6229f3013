"""Pages for people and an HTTP API over what runs: cameras, incidents, GPUs and what they cost.

| room | what belongs there |
|---|---|
| `settings.py`, `metrics.py` | what the environment says, and what is counted |
| `people/` | who asks, and what they may see: accounts, sessions, tokens, one-time links |
| `oidc/` | signing in by an organisation's own accounts |
| `links/` | the connections to NATS, one for each role |
| `feed/` | what is said on the bus, handed to browsers |
| `video/` | pictures, clips and live video |
| `now/`, `cameras/`, `review/`, `find/`, `ask/`, `scaling/`, `system/` | one for each page: routes and their needs |
| `web/` | the application: who may ask what, errors, headers, files |
| `pages/` | HTML, CSS and JavaScript, as browsers get them |

Each answer that depends on a camera passes `people.door`. On the bus the rights of who asks count.
"""
