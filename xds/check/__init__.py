"""Every rule on metadata and query parameters that needs no stored state, each with its clause."""
