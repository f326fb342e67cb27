"""Coverage-guided fuzzing (`make fuzz`): what is fuzzed, from which seeds, and what may come of it.

The rule of every target: documented errors, nothing else. A target is a function of bytes that returns, or raises what
nobody has documented. Corpora are small: tests/system/chaos/corpora/TARGET, one file
each, named by the digest of its content.
"""
