"""Maths on arrays; knows no model, no config and no file."""
