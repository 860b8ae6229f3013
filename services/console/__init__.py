"""Pages for people and an HTTP API over what runs: cameras, incidents, GPUs and what they cost.

| module | idea |
|---|---|
| `metrics` | metrics |
| `web` | what routes use of a request: its user, their rights, times, limits, errors |
| `settings` | settings from the environment |
| `links` | NATS by the rights of each role, buckets, and child processes |
| `accounts` | people, their sessions, tokens and links, and the gate that every request passes |
| `console` | what all routes share |
| `feed` | events of the bus, forwarded to browsers |
| `video` | pictures, clips and live video |
| `cameras`, `now`, `recordings`, `review`, `find`, `ask`, `scaling`, `models`, `site`, `system` | one for each page |
| `people`, `oidc` | signing in, and the people who may; single sign-on by an organisation's own accounts |
| `server` | the server, which mounts the pages |
| `pages` | HTML, CSS and JavaScript, as browsers get them |

The folder of a page has one shape. `routes` has its requests, in ROUTES. `state` has what they share, which a request
gets as `page`: a class made of `Console` and of pages above; `server.pages` lists its background work. `answers` has
the bodies of replies. Those of `find` are in `searches`, of `ask` in `questions`, of `now` in `model`; `scaling` and
`system` have them in `routes` and next to their subjects. `rule_routes` and `letter_routes` are parts of the `routes`
of `cameras` and `system`. The other modules are the subjects of the page; most are pure.

Each answer that depends on a camera passes `web.access`. On the bus the user's own rights apply.
"""
