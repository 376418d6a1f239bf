"""Record before act: span starts, span ends and decision records in local files, before anything else happens.

No thread, no network and no Celery in here. The format is described in docs/adr/0006-spool-format.md.
"""
