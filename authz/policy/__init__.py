"""What an operator wants: the model, reading it from policy.yaml, and the decision."""
