"""Who may be in memory and whose turn it is: decisions without clock, task or process."""
