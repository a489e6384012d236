"""Steps compiled ahead of time, for devices that are not here, and the batch that fits them."""
