"""What the controller remembers, in one database: history, inventory, journal, modes, agents, forecasts."""

from foreshape_controller.store.store import Store

__all__ = ["Store"]
