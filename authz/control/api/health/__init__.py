"""What operators and their programs ask; nothing in here tells what is on a list.

probes          /livez, /readyz
metrics         /metrics: all metrics of the control plane, of which
publishing      layers, files, inputs and sidecars
detection       events, triggers, sources and sinks
notifications   messages to channels
"""
