"""The token service: turns a card or a login into a signed assertion. One transaction one file."""
