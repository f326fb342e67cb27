"""Looking at whole snapshots: the decision of every address, differences, pictures, mistakes (publisher only; numpy)."""
