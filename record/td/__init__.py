"""The record's services by SOAP: one file a transaction of the TD catalogue, HL7 v3 or typed."""
