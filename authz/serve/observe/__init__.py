"""What is kept of decisions.

- recorder: counts each decision and hands some to sinks
- details: what of a request stands in its log line beside the decision
- decision_log: a sink that writes lines, by a thread; log.lines makes them, log.file writes them
- metrics: all counters, as Prometheus text
- hits: counts by names whose number has no bound, such as entries
- staleness: tells when a snapshot becomes stale, and when that ends
"""
