"""The database: a table, and triggers that note every change of it in the same transaction.

    python shop.py "INSERT INTO products VALUES ('tea', 'Tea', 350)"

Any program may write the table; none of them has to know that it is published.
"""

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

FILE = Path(os.environ.get("SHOP", "shop.db"))

# `changes` holds what is not published yet. Its numbers only grow, AUTOINCREMENT sees to that.
# `batch` holds the last number of the batch that is being published, if one is.
SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS products(
    id TEXT PRIMARY KEY CHECK (id <> ''), name TEXT NOT NULL, price_cents INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS changes(
    number INTEGER PRIMARY KEY AUTOINCREMENT, operation TEXT NOT NULL, id TEXT NOT NULL, row TEXT
);
CREATE TABLE IF NOT EXISTS batch(last_number INTEGER NOT NULL);

CREATE TRIGGER IF NOT EXISTS note_insert AFTER INSERT ON products BEGIN
    INSERT INTO changes(operation, id, row) VALUES ('insert', new.id,
        json_object('id', new.id, 'name', new.name, 'price_cents', new.price_cents));
END;
CREATE TRIGGER IF NOT EXISTS note_delete AFTER DELETE ON products BEGIN
    INSERT INTO changes(operation, id) VALUES ('delete', old.id);
END;
CREATE TRIGGER IF NOT EXISTS note_update AFTER UPDATE ON products
WHEN old.id = new.id AND (old.name, old.price_cents) IS NOT (new.name, new.price_cents) BEGIN
    INSERT INTO changes(operation, id, row) VALUES ('update', new.id,
        json_object('id', new.id, 'name', new.name, 'price_cents', new.price_cents));
END;
CREATE TRIGGER IF NOT EXISTS note_new_key AFTER UPDATE ON products WHEN old.id <> new.id BEGIN
    INSERT INTO changes(operation, id) VALUES ('delete', old.id);
    INSERT INTO changes(operation, id, row) VALUES ('insert', new.id,
        json_object('id', new.id, 'name', new.name, 'price_cents', new.price_cents));
END;
"""


def open_shop() -> sqlite3.Connection:
    database = sqlite3.connect(FILE, timeout=10)
    database.executescript(SCHEMA)
    return database


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    with closing(open_shop()) as shop, shop:
        for row in shop.execute(sys.argv[1]):
            print(*row)
