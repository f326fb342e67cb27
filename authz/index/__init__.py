"""The index: which entries cover this address? Built with numpy, looked up with the standard library."""
