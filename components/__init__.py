"""Pipeline steps as Kubeflow components, one file each: the signature is the step's contract, the body calls the library."""
