"""The tests that a change can reach: through imports, and through strings that name a module, a file or a folder."""
