"""Who is calling: certificates, cards, assertions and the 16 steps that accept one."""
