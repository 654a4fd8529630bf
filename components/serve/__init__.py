"""The service, which runs beside the pipelines and is no step of them: an image, and the manifests of `k8s/serving`."""
