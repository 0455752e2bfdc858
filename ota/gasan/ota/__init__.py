"""Whole-or-old slots with trial and rollback; the node part runs on a board."""
