"""What several tests use: a publisher, processes, and the data beside the project."""
