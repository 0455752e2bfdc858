"""Pure codecs and state machines: no clock, pin, file or socket. Runs on node and host."""
