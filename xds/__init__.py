"""The XDS.b protocol library: wire, ebXML, metadata model and checks. No policy, no storage."""
