"""The figures of the paper, of trained networks and of studies."""
