"""The rules of the Durable Streams protocol as pure functions, one file a topic.

Nothing here does I/O, reads a clock, draws a random number, or knows a framework or a store. The time
arrives as an argument in microseconds since 1970, and what must change leaves as `Write` values.
If you wonder where a rule is checked, the file's name answers:

============  ===============================================================
model         streams, producers, appended data: the values everything speaks of
requests      method, headers and query → a typed request, or an error
decide        state + request + time → decision (what to write, what to answer)
producers     epoch fencing, sequence numbers, duplicates
json_mode     validation and flattening of JSON bodies
offsets       the token that names a position
lifetimes     TTL and expiry
forks         where a fork branches off, and what keeps its source alive
cursors       the collapsing cursor of live reads
caching       ETag, If-None-Match, Cache-Control
sse           data and control events
responses     outcome → status and headers
errors        one class per condition, with its status and section
============  ===============================================================
"""
