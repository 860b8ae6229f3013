"""Users, and what they may see.

| module | idea |
|---|---|
| `answers` | the API's answers about people and groups; pure |
| `session_routes` | signing in and out |
| `token_routes` | a user's tokens for programs |
| `admin_routes`, `group_routes` | people and groups of cameras, changed by an admin |
| `routes` | all of these routes |
"""
