"""The page Cameras: the state of each and what it shows, and changes to cameras and their rules.

| module | idea |
|---|---|
| `state_tracker` | the state of one camera, from its events |
| `monitor` | receives the events of all cameras |
| `answers`, `fields` | the API's answers about cameras, and its request bodies |
| `trial` | opens a camera once, in a child process |
| `rule_document` | rules as they are stored, written and drawn |
| `rule_preview` | the incidents that rules would have raised in the last hour |
| `state` | what the routes share |
| `changes` | adds, changes and removes cameras |
| `rule_routes`, `routes` | the requests |
"""
