"""Published data sets, laid out as the recipes want them."""
