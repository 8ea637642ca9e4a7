"""Hash of the locked requirements (sha256 of requirements/*.txt, written by `make lock`), which is part of image tags."""

REQUIREMENTS_HASH = "098251e90bc57d0d803f80357ec975231a0cb2b8e33c68a0685a48dd568f14b7"
