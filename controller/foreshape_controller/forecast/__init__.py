"""Demand ahead of time, as quantiles."""
