"""Gateway, store and command line."""
