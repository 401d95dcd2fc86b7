"""Subscriptions: durable cursors that wake workers when streams have pending data (PROTOCOL §6, §7).

Pure parts decide:

============  ===============================================================
values        configuration, links, wakes: the values everything speaks of
patterns      which stream paths a glob pattern matches
links         what one subscription is linked to, acknowledged, pending
rules         wakes, leases, fencing, retries: state + event + time → state
tokens        signed callback and claim tokens
addresses     which URLs and addresses a webhook may go to
messages      JSON bodies, in and out
index         which subscriptions care for a path
errors        one class per condition, with its status and code
============  ===============================================================

A shell acts, from the outside in:

============  ===============================================================
http          routes below `__ds`
manager       the operations of the API
dispatcher    what happens by itself: leases end, wakes are told, and told again
roster        all subscriptions in memory, and the streams they follow
member        one of them
courier       a notification to a webhook, or an event in a wake stream
delivery      the HTTP request to a webhook
signing       Ed25519 signatures and their public keys (needs an extra)
records       subscriptions ↔ records of the store
============  ===============================================================
"""
