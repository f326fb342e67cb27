"""Several processes that answer: `supervisor` starts them, `keeper` loads and shows, `worker` decides.

`channel` is how they speak, `share` how a snapshot goes from one to the others, `spread` how connections do, `reports`
how their metrics become one.
"""
