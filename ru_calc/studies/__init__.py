"""Studies of the potential: its speed beside others, its settings, its family beside others, the starting paper."""
