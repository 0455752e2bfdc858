"""A disk that loses power: what a process did to the files of a folder, and what would be left of it after a
cut at any moment, with writes that were not synced lost or torn.
"""
