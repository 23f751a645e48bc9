"""`make bench-triggerer`: what 1,000 waiting sensors cost a triggerer, beside the nearest the Google provider has."""
