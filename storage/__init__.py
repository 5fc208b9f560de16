"""The engines: SQLite and files. Each room states the store it needs; this room implements them."""
