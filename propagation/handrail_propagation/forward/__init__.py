"""Ships a spool: OTLP to one or more destinations, at least once, in order per writer, nothing decoded on the way.

Reading, sending and deleting; nothing here writes records of its own into a spool, and no pool child runs it. How it
is run and what it promises: docs/spool.md.
"""
