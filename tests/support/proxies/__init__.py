"""Real proxies for tests: clients before them, the application behind them, and one module for each proxy."""
