"""Thin Kubeflow components: parameters and artifacts in, one call into `oaml_core.stages`, artifacts out."""
