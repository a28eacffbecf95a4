"""What files look like, as values."""
