"""May we? Pure: standard library, records and configs only; it knows nothing of the surrogate."""
