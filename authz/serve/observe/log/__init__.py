"""What the decision log writes: its lines, and the file that takes whole lines or none."""
