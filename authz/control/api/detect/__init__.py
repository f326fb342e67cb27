"""Events, triggers and notifications by API.

events         `/v1/events`: what clients did
triggers       `/v1/triggers`, `/v1/holds`: whom to list, and whom to leave alone
notifications  `/v1/notifications`: who is notified about what
"""
