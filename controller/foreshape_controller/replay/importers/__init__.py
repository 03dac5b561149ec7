"""Other people's formats to canonical traces. Every importer yields blocks (``blocks.py``); nothing here keeps their data."""
