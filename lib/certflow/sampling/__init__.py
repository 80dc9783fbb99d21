"""The Monte-Carlo engine and its planners. Importing this package does not load torch."""
