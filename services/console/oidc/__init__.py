"""Signing in by an organisation's own accounts: OpenID Connect, with the authorization code and PKCE."""
