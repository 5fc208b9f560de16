"""What a caller may do: one pure decision over plain facts."""
