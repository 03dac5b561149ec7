"""The HTTP edge (Litestar): reports from agents, questions from operators."""
