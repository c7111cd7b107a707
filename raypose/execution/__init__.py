"""Who does the tasks: one process (`inline`), or a Ray cluster (`ray`); the contract is `base`."""
