"""What the checks of the exercises are tried on: one file for each notebook."""
