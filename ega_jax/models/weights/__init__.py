"""Weight files, read without executing anything in them, and networks started from them."""
