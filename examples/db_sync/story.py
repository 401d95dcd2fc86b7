"""All of the example in one command: a shop's table, its publisher, and two mirrors that are away at times.

    python story.py

It tells what happens, ends by itself, and leaves nothing behind.
"""

import sqlite3
import sys
import tempfile
from contextlib import closing
from functools import partial
from pathlib import Path

from durafold.testing import ServerProcess

sys.path.insert(0, str(Path(__file__).parents[1]))

from programs import Program, run, tell

HERE = Path(__file__).parent


def main(directory: Path) -> None:
    with ServerProcess(directory / "streams") as server:
        change = partial(run, HERE / "shop.py", cwd=directory)
        start = partial(Program, cwd=directory, STREAM_URL=server.url)

        tell("A publisher sends what changes in the shop's table. Two mirrors follow.")
        with start(HERE / "publish.py", "green") as publisher:
            publisher.wait_for("publishing")
            with start(HERE / "mirror.py", "cyan") as mirror, start(HERE / "watch.py", "magenta") as watch:
                change("INSERT INTO products VALUES ('tea', 'Tea', 350), ('mug', 'Mug', 900)")
                mirror.wait_for("2 products")
                watch.wait_for("insert mug")

            tell("Both mirrors are killed. The shop does not wait for them.")
            change("UPDATE products SET price_cents = 400 WHERE id = 'tea'")
            change("DELETE FROM products WHERE id = 'mug'")

        tell("The publisher and the server are killed, and the table changes all the same.")
        server.kill()
        change("INSERT INTO products VALUES ('pot', 'Pot', 2500)")
        server.start()

        tell("All come back, and catch up with what they have missed.")
        with (
            start(HERE / "publish.py", "green"),
            start(HERE / "mirror.py", "cyan") as mirror,
            start(HERE / "watch.py", "magenta") as watch,
        ):
            watch.wait_for("Pot at 25.00")
            mirror.wait_for("2 products")
            change("INSERT INTO products VALUES ('cup', 'Cup', 1200)")
            watch.wait_for("insert cup")
            mirror.wait_for("3 products")

    for name in "shop", "mirror":
        tell(f"{name}.db: {rows(directory / f'{name}.db')}")


def rows(file: Path) -> str:
    with closing(sqlite3.connect(file)) as database:
        products = database.execute("SELECT name, price_cents FROM products ORDER BY id")
        return ", ".join(f"{name} at {cents / 100:.2f}" for name, cents in products)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        main(Path(directory))
