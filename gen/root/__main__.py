"""``python -m heddle``: the command line."""

import sys

from heddle.gen.cli import main

sys.exit(main())
