"""What a request costs: in process (`run`), and in whole sidecars of two checkouts asked in turn (`in_turn`)."""
