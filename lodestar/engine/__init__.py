"""Engine: the online path without HTTP, from a history to a ranked list; also used by evaluation, so that both give equal scores."""
