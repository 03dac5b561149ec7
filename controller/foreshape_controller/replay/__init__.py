"""What would it have done: policies over a trace, side by side."""
