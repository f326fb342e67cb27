"""What notifications keep: `deliveries` waiting and taken, and `alarms` that were told of."""
