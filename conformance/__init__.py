"""The tester's kit: clients, CDA to metadata, spoiled credentials."""
