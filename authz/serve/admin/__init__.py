"""The admin listener, for operators.

health  whether the sidecar is alive and ready
status  what is loaded, and what is wrong with it
pages   /livez, /readyz, /metrics, /snapshot, /decisions, /explain
token   who may ask
"""
