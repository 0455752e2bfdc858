"""Test benches: equipment, buses and faults."""
