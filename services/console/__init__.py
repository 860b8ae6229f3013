"""Pages for people and an HTTP API over what runs: cameras, incidents, GPUs and what they cost.

| module | idea |
|---|---|
| `settings`, `metrics` | settings from the environment, and metrics |
| `people` | users and what they may see: accounts, sessions, tokens, one-time links |
| `oidc` | single sign-on by an organisation's own accounts |
| `links` | the connections to NATS, one for each role |
| `feed` | events of the bus, forwarded to browsers |
| `video` | pictures, clips and live video |
| `now`, `cameras`, `recordings`, `review`, `find`, `ask`, `scaling`, `system` | one for each page, with its routes |
| `web` | the application: authorization, errors, headers, files |
| `pages` | HTML, CSS and JavaScript, as browsers get them |

The rows have no order of imports: `web` serves the pages, and each page uses parts of `web`.

Each answer that depends on a camera passes `people.access`. On the bus the user's own rights apply.
"""
