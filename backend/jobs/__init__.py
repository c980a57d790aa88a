"""What runs by the clock, as far as the web must know: the table of jobs, their runs, who leads. `tasks` runs them."""
