"""Events are kept for those who ask later.

writer     a thread that writes events in batches, beside the counting
keeper     writes them to the store
clickhouse writes them to a database of their own; `config`: which
countries  where clients are
export     out of the store as JSON lines; `parquet`: as Parquet (extra `archive`)
"""
