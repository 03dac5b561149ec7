"""The central program: forecasts demand, decides sizes, journals and orders them; and the operator's CLI."""
