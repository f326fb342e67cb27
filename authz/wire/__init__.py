"""Messages: generated protobuf code (`make proto`), and `plain`, which writes some of them without it."""
