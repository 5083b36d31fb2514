"""``python -m pointinteract.cli``, for where the console script is not on the path."""

import sys

from pointinteract.cli._main import main

sys.exit(main())
