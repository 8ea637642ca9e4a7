"""`lodestar rollout`, where only `serving` is installed: canary rollout of a new bundle to an InferenceService."""

import sys

from serving.rollout.rollout import main

if __name__ == "__main__":
    sys.exit(main())
