"""From a trigger's listing to an entry.

guard     who is never listed, and who is not listed now
offences  who was listed before: periods that grow
write     the entry, in a transaction by the trigger as actor
"""
