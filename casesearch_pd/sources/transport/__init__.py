"""What every source needs to send requests: rate limit, retries, the clock, HTTP."""
