"""What travels between client and server, as plain values: names, offsets, metadata, events, actions.

Pure: no I/O, no clock, no randomness. Both the SDK and the server import it, and nothing here
imports either of them.
"""
