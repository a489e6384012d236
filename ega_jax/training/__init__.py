"""The objective, the steps that lower it, and what goes on between them."""
