"""Who uses the console: people, their sessions, tokens and links, and the gate that every request passes.

| module | idea |
|---|---|
| `limits` | limits of sign-in attempts; pure |
| `passwords` | hashes of passwords |
| `records` | entries of the bucket `console`; pure |
| `credentials` | sessions, tokens and one-time links |
| `people` | people, and the groups of cameras that they may see |
| `authentication` | the user of a session, a token or a proxy, with the rights they have now |
| `gate` | authenticates each request, and authorizes it by role |
"""
