"""The page Cameras: the state of each and what it shows, and changes to cameras and their rules.

| module | idea |
|---|---|
| `sight` | the state of one camera, from its events |
| `watch` | receives the events of all cameras |
| `answers` | the API's answers about cameras |
| `fields` | the API's request bodies |
| `trying` | opens a camera once, in a child process |
| `changing` | adds, changes and removes them |
| `drawn` | rules as they are stored, written and drawn |
| `previewing` | the incidents that rules would have raised in the last hour |
| `routes`, `rule_routes` | the requests |

Each module imports only modules above it.
"""
