"""Starts, finds and stops what a run needs around it: Redis, the receiver, workers."""
