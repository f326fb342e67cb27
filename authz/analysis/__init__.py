"""Looking at whole snapshots: decisions of every address, differences, pictures, mistakes (publisher only; numpy)."""
