"""Document Registry actor: one file per transaction, one per stored query."""
