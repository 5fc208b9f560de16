"""What was done, by whom, and why: the access log."""
