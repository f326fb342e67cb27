"""What the use cases of lists go by.

check    whether what an entry says is well-formed
periods  "2h", "forever" and times, as an entry's window
limits   what a layer may say
guard    the lock-out guard, and what needs a second person
resolved whom an entry means that names countries, systems, source types or hosts
context  the configuration, store, signals and rules that changes need
rules    limits, protected networks and four eyes together, as the use cases are given them
"""
