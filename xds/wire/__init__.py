"""HTTP, MIME/MTOM, SOAP 1.2, WS-Addressing and faults. Knows no transaction by name."""
