"""A weigher for Nova's scheduler: prefers hosts that Foreshape's forecasts expect to stay free.

Runs inside nova-scheduler and imports nothing but Nova (with its oslo.config) and the standard library. It never refuses a host, never
raises, and never makes a boot wait longer than its time limit: what it does not know it does not weigh.
"""
