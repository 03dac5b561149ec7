"""The shared words of agent and controller: quantities, ids, samples, orders, outcomes, codec. Imports msgspec only."""
