"""`python -m mlops_assets.cli`: what `mlops_assets.__main__` hands over to once the environment is ready."""

import sys

from mlops_assets.cli.app import main

sys.exit(main())
