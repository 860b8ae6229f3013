"""The page Cameras: how each does and what is seen, and whoever may changes them and their rules.

| module | idea |
|---|---|
| `sight` | what is known of one camera, by what was heard of it |
| `watch` | hears what is said of all of them |
| `answers` | what the API says of cameras |
| `fields` | what the API takes of them |
| `trying` | opens a camera once, in a process of its own |
| `changing` | adds, changes and removes them |
| `drawn` | rules as they are stored, written and drawn |
| `previewing` | what rules would have told of the last hour |
| `routes`, `rule_routes` | the requests |

Each imports only those above it.
"""
