"""What a run stands on: files, checkpoints, processes and devices."""
