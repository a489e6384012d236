"""Configs: impossible values, what a workdir says of its run, and the objects that fields name."""
