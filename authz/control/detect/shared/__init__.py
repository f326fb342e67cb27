"""Several control planes that share the counting, by streams of Valkey or Redis.

config      `streams` of control.yaml
partitions  which events are counted together
leases      which process counts which partition
codec       events as bytes
work        events through the streams: nothing is lost with a process, and nothing counted twice
"""
