"""What the scripts that open a model's page in a browser have in common."""
