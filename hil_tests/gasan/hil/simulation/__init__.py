"""Thirty days of nodes and gateways on an event clock, with seeded faults (docs/adr/0012-simulation.md)."""
