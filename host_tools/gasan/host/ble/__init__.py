"""The gateway's Bluetooth adapter: what it hears, and nodes that are reached by it."""
