"""Events are kept for those who ask later.

keeper     writes them in batches, beside the counting
countries  where clients are
"""
