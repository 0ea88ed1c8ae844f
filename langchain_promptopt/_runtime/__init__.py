"""What every run needs: failures and retries, rate limits, budget and usage, cache, tracing, an orderly stop."""
