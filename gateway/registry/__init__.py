"""The registry: what is known of instruments, certificates and events."""
