"""React's shared-state hooks for Python: durable, optimistic, and the same for every client."""
