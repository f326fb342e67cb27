"""`authz control …`, beside init, serve and sign: what administrators do.

store           import, export, backup and others that open the store themselves
administration  tokens, approvals, publications, feeds, api
settings        tenants, applications, policy
records         audit, checkpoints, jobs, sessions, notifications
detection       triggers, holds
events          search, count and export events
"""
