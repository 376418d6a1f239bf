"""OTLP in: HTTP and gRPC, the store behind it and the query API, in one process (`handrail serve`)."""
