"""What spark-submit runs: `lodestar features build` in the session that it makes."""

import sys

from cli.main import main

if __name__ == "__main__":
    sys.exit(main(["features", "build", *sys.argv[1:], "--spark", "submitted"]))
