"""One loop for every method. Knows Protocols only; strategies meet it in a Recipe."""
