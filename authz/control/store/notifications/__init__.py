"""What notifications keep: `deliveries` waiting and done, and `alarms` that were sent."""
