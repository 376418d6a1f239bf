"""OTLP's protobuf bytes, written without protobuf objects: as the stock encoder's, several times as fast.

Encoding and the exporters that use it, and nothing about Celery, spools or agents. Anything out of the ordinary
is left to the stock encoder, so that its answer, or its error, is ours.
"""
