"""What is kept of decisions: metrics and the decision log."""
