"""The demo: the nine-second wipe on real things, with the gate off and on."""
