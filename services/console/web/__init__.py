"""The application: who may ask what, errors, headers and files."""
