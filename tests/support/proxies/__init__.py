"""Real proxies for tests: `programs/` has one module for each; clients before them, the application behind them."""
