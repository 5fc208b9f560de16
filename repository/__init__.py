"""Document Repository actor: one file per transaction, and the link to the registry."""
