"""HTTP connections, proxies, trust, deadlines, retries, and what connection errors mean."""
