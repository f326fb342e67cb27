"""YAML files that a person writes: read strictly, all mistakes at once, each with its line.

document  a file or text, read as a struct; what was read, and what is wrong with it
fields    how a node is read by the type of its field; `Scalar`, for types of our own
scalars   types that policy.yaml and the configurations have in common: counts, shares, periods
"""
