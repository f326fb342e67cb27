"""Pages that tell how things stand.

overview    decisions by time, who is denied most, sidecars, what needs attention
"""
