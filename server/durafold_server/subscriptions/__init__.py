"""Subscriptions: durable cursors that wake workers when streams have pending data (PROTOCOL §6, §7).

Pure parts decide, one shell acts:

============  ===============================================================
values        configuration, links, wakes: the values everything speaks of
patterns      which stream paths a glob pattern matches
links         what one subscription is linked to, acknowledged, pending
rules         wakes, leases, fencing, retries: state + event + time → state
tokens        signed callback and claim tokens
addresses     which hosts and addresses a webhook may go to
messages      JSON bodies, in and out
errors        one class per condition, with its status and code
index         which subscriptions care for a path
records       subscriptions ↔ records of the store
signing       Ed25519 signatures and their public keys (needs an extra)
delivery      the HTTP request to a webhook
manager       the shell: store, timers, tasks
http          routes below `__ds`
============  ===============================================================
"""
