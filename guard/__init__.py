"""Three rooms a security reviewer reads alone: credentials, policy, audit."""
