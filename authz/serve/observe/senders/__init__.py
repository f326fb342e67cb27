"""What is sent to others, in batches, and never holds up a decision.

batches  sending them: packed, tried again, counted when lost
events   decisions for a control plane
traces   spans for OpenTelemetry
"""
