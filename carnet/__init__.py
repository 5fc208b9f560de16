"""The front door: command line, settings, process start, demo."""
