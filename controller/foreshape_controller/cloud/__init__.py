"""The openstacksdk door."""
