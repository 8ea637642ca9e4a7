"""Hash of the locked requirements (sha256 of requirements/*.txt, written by `make lock`), which is part of image tags."""

REQUIREMENTS_HASH = "89f795217a5bc4c82db0ff54e03cc63c0e3a5a6611abbb5d38edcda639b8d28a"
