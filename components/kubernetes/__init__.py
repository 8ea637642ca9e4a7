"""Kubernetes clients of the steps: training jobs (PyTorchJob, TrainJob), their launcher, manifests, permissions and Katib."""
