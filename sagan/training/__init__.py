"""Training: the two updates, the loop around them, and what it writes."""
