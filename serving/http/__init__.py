"""HTTP server: ASGI helpers, graceful drain, the connection protocol, and limits of requests, connections and the process."""
