"""Entry point for spark-submit: `lodestar features build` in the submitted Spark session."""

import sys

from cli.main import main

if __name__ == "__main__":
    sys.exit(main(["features", "build", *sys.argv[1:], "--spark", "submitted"]))
