"""Benches: each module has ``rows()``, which measures and returns rows of the table that ``make bench`` prints."""
