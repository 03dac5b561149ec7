"""Simulated time: it passes only when somebody lets it."""


class SimClock:
    """One clock for all programs of a simulation. ``sleep`` returns at once, and time has passed."""

    def __init__(self, start: float) -> None:
        self._start = start
        self._elapsed = 0.0

    def now(self) -> float:
        """Wall clock, seconds since the epoch."""
        return self._start + self._elapsed

    def monotonic(self) -> float:
        """Seconds since the simulated machines were booted, an hour before the start."""
        return 3600.0 + self._elapsed

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self._elapsed += max(0.0, seconds)

    def advance_to(self, at: float) -> None:
        """Let time pass until ``at``; an instant that is over already is now."""
        self._elapsed = max(self._elapsed, at - self._start)

    def step_wall_clock(self, seconds: float) -> None:
        """Set the wall clock forward or back, as NTP or a person does; monotonic time does not notice."""
        self._start += seconds
