"""Models on the Hugging Face hub: names, downloads, folders as the hub shows them, uploads."""
