"""Remote models: what a connector says, and the HTTP calls that follow from it."""
