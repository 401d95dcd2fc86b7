# %% [markdown]
# # What the collector has seen
# Run it cell by cell in an editor that knows `# %%`, or all at once: `python explore.py`.

# %%
import os
import platform
from itertools import islice
from statistics import fmean

from durafold.blocking import DurableStream, Provider
from summary import summary

STREAM_URL = os.environ.get("STREAM_URL", "http://127.0.0.1:4437/v1/stream")
party = Provider(STREAM_URL).start()
stream = DurableStream(f"{STREAM_URL}/readings/{platform.node() or 'localhost'}")

# %% Without a server this fails, and without a collector too; what follows a stream would wait for a server.
stream.head()

# %% All readings up to now. `live="off"` ends at the tail, and the follower knows where that was.
past = stream.follow(live="off")
readings = list(past.iter_json())
print(f"{len(readings)} readings, the last one at {readings[-1]['at'] if readings else 'no time yet'}")

# %%
loads = [reading["load"] for reading in readings]
if loads:
    print(f"load: {min(loads):.2f} to {max(loads):.2f}, {fmean(loads):.2f} on average")

# %% What the collectors of all machines have seen. It stays up to date: run the cell again.
seen = party.open(summary).ready()
print(f"all collectors: {seen.value.readings} readings, load up to {seen.value.highest_load:.2f}")

# %% The next three as they come: from where the past ended, so that none is missed and none comes twice.
with stream.follow(past.checkpoint) as future:
    for reading in islice(future.iter_json(), 3):
        print(f"reading {reading['number']}: load {reading['load']:.2f}")

# %%
stream.disconnect()
party.close()
