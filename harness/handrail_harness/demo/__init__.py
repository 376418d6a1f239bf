"""The demo: the nine-second wipe on real things, with the gate off and on.

`workspace` is what there is to lose, `ops` the agents and their tools, `scripts` what the scripted models say,
`act` one run of it all.
"""
