"""`python -m durafold_server`."""

import sys

from durafold_server.cli import main

sys.exit(main())
