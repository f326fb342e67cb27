"""What is kept of decisions.

recorder                 counts each decision and hands some to sinks
decision_log log/        a sink that writes lines, by a thread; how they are made, and written
details                  what of a request stands in its line beside the decision
senders/                 sinks that send: events, traces
watch                    a sink that keeps the latest decisions while somebody looks
metrics                  all counters, as Prometheus text
process_metrics latency  what the process takes; how long decisions take
hits ignored_clients     counts by names without a bound; clients whose peer is not trusted
"""
