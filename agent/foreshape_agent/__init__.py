"""The per-hypervisor program: measures VMs, hot-resizes them within the controller's orders and its own guards."""
