"""One loop for every method. It knows the Protocols only; a Recipe brings the strategies."""
