"""Pages about what was, and why.

changes      history: who changed what, when, how and why; as CSV, too
difference   what is different between two times
explaining   why an address is allowed or denied, at any time
"""
