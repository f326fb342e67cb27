"""The console in tests: a real browser, one without JavaScript, something to look at, and pictures of it."""
