"""Users, and what they may see.

| module | idea |
|---|---|
| `asker`, `access` | the user of a request; the one access check for cameras |
| `limits`, `concurrency_limit` | limits of sign-in attempts, and of a person's concurrent requests; pure |
| `passwords` | hashes of passwords |
| `mirrored_bucket` | writes to a bucket that this process mirrors |
| `records` | entries of the bucket `console`; pure |
| `store` | the people, and how they authenticate |
| `answers` | the API's answers about people and groups; pure |
| `session_routes` | signing in and out |
| `token_routes` | a user's tokens for programs |
| `admin_routes`, `group_routes` | people and groups of cameras, changed by an admin |
| `routes` | all of these routes |
"""
