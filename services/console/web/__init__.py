"""The application: authorization, errors, headers and files."""
