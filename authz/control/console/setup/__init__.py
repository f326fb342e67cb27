"""Pages of what is set up.

applications  modes, defaults, precedence, dry run
publications  signed files, and which sidecars have them
feeds         where source types come from, their age and counts; the rest of the policy
people        tokens, tenants, sessions
channels      who is notified about what
"""
