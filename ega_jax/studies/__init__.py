"""Studies: the runs of a table, trained where they are missing, and the table made of them."""
