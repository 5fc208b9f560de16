"""Schema revisions of the two databases, run from inside the package."""
