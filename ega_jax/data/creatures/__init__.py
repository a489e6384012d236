"""The embedded data set: animals drawn on the spot."""
