"""Stored queries, one file each; a new file is found by its QUERY_ID and touches no other."""
