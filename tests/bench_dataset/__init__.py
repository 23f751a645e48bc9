"""How fast datasets are checked, beside other ways to check them."""
