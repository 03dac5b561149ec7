"""SIMULATED hypervisors and load, behind the same doors as the real ones.

A product feature with its own name: everything it shows says "simulated".
"""
