"""What the commands share: their output, how they fail, opening a decider, asking the admin listener."""
