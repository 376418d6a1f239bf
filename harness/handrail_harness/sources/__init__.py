"""Where spans are read from: the embedded store, Jaeger, OTLP files. One interface, the same answer on each (D13)."""
