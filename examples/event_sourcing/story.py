"""All of the example in one command: a server, orders, and a projection that is killed.

    python story.py

It tells what happens, ends by itself, and leaves nothing behind.
"""

import sys
import tempfile
from functools import partial
from pathlib import Path

from durafold.testing import ServerProcess

sys.path.insert(0, str(Path(__file__).parents[1]))

from programs import Program, run, tell

HERE = Path(__file__).parent


def main(directory: Path) -> None:
    with ServerProcess(directory / "streams") as server:
        record = partial(run, HERE / "record.py", cwd=directory, STREAM_URL=server.url)
        projection = partial(Program, HERE / "projection.py", "cyan", cwd=directory, STREAM_URL=server.url)

        tell("A projection follows the orders.")
        with projection() as reader:
            record("place", "A-1", "ada", "19.90")
            record("place", "A-2", "grace", "42")
            reader.wait_for("grace: 1 orders, 42.00")

        tell("It is killed, and life goes on without it.")
        record("place", "A-3", "ada", "0.10")
        record("cancel", "A-2")

        tell("Then the server is killed, too. Both come back: nothing is missed, nothing counts twice.")
        server.kill()
        server.start()
        with projection() as reader:
            reader.wait_for("ada: 2 orders, 20.00")

        tell("Without its table it starts from the first event, and comes to the same.")
        (directory / "projection.db").unlink()
        with projection() as reader:
            reader.wait_for("ada: 2 orders, 20.00")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        main(Path(directory))
