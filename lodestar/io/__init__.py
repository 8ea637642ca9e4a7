"""File I/O: local paths and `s3://` addresses, downloads, atomic publishing, locks, private folders and .npz arrays."""
