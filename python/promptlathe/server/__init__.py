"""What stands behind an address that serves the three endpoints.

``handler`` holds the documented rules as a function of one request, ``simulated`` answers without
any model, and ``http1`` and ``script`` are the parts of the front in `promptlathe.mock`.
Nothing is imported here: ``import promptlathe`` must not pay for a server.
"""
