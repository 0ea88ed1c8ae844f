"""What keeps a run alive, within its budget and honest about failures: clock, retry, limiter, ledger, cache, bridge."""
