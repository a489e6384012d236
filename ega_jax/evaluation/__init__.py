"""A trained network over a split, to figures, intervals, tables and pictures."""
