"""Benches: the ``rows()`` of each module measures and returns lines of the table of ``make bench``."""
