"""XSD, WSDL, code tables and affinity domains, written by us; origins in MANIFEST.md."""
