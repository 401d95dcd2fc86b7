"""`python -m durafold_server.bench`."""

import sys

from durafold_server.bench.cli import main

sys.exit(main())
