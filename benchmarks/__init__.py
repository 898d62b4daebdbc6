"""What the course costs, measured: clips, training steps, whole notebooks. ``make bench`` prints all of it."""
