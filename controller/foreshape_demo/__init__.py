"""The demo: real agent and controller code on SIMULATED hypervisors, in one process. The only place that imports both programs."""
