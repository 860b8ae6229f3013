"""The page Cameras: the state of each and what it shows, and changes to cameras and their rules.

| module | idea |
|---|---|
| `state_tracker` | the state of one camera, from its events |
| `monitor` | receives the events of all cameras |
| `answers` | the API's answers about cameras |
| `fields` | the API's request bodies |
| `trial` | opens a camera once, in a child process |
| `changes` | adds, changes and removes them |
| `rule_document` | rules as they are stored, written and drawn |
| `rule_preview` | the incidents that rules would have raised in the last hour |
| `routes`, `rule_routes` | the requests |

Each module imports only modules above it.
"""
