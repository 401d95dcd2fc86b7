"""The protocol over HTTP as a plain ASGI application; the only place that knows ASGI."""
