"""The fault matrix over HTTP/1.1: what goes wrong on the way, and what a caller then sees."""
