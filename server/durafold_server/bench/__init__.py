"""`durafold bench`: measures servers of the Durable Streams protocol, ours and others, side by side.

=============  ==================================================================
wire           HTTP/1.1 as a load generator needs it; pure
targets        the servers to measure, and how a command line names them
processes      servers started for a run
messages       what is appended
client         one blocking connection: prepares streams, and checks them afterwards
load           many connections that append or read as fast as they can, or at a rate
live           SSE readers
measure        clocks, CPU time, memory, disk flushes
machine        where a run was made, and with what
settings       how much is measured, and how long
scenarios/     what is measured, one topic a file
runner         rounds, interleaved over the servers
results        what a run found, and its JSON form
report         tables and comparisons for people
cli            the command line
=============  ==================================================================

The servers run in processes of their own, so this process is nothing but the load generator; it reports how
much CPU it took itself, because a generator at its limit measures itself. Nothing here knows how any server
works inside: it speaks the protocol, and reads what the system tells about a process.
"""
