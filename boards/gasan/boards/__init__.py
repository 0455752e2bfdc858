"""Boards: their facts, the virtual board, the virtual machines that run it."""
