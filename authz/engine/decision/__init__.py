"""What is decided, and why.

verdict     modes, windows and warnings: a pure function of application, matches, attack signal and time
precedence  which of several entries decides
outcome     the answer to a request
decider     requests to outcomes, with a memory
generation  a ruleset with the outcomes met so far
lapses      layers that are missing or stale
explain     a decision, step by step
"""
