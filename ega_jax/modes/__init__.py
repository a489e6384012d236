"""What the program does: a file for each `--mode`."""
