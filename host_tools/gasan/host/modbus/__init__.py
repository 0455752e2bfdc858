"""Commissioning of Modbus lines from the gateway's own adapter: find the devices, and what stands in them."""
