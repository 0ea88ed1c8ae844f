"""The test servers tested: by the clients they stand in for, unmodified."""
