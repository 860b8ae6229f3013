"""Signing in by an organisation's own accounts: OpenID Connect, with the authorization code and PKCE.

| module | idea |
|---|---|
| `flow` | one attempt to sign in, stored in a cookie; pure |
| `accounts` | an account of the provider as a person of the console |
| `provider` | the provider's metadata and keys, and the claims of a code; the state of the routes |
| `routes` | the redirect to the provider, and its callback |
"""
