"""Who may ask.

tokens       tokens and tenants
sessions     of people
idempotency  answers of requests that may be repeated
"""
