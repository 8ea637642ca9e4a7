"""What images install is part of their tags: sha256 of requirements/*.txt, written by `make lock`."""

REQUIREMENTS_HASH = "19927bf6961709902d0689b3b3c848fb5ec25a8179451aa38e72ed606e2b4ab8"
