"""The slow lane: requests that may concern a pipeline or a query of ours, in the application process."""
