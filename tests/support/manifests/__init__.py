"""What must hold for the manifests in deploy/k8s: checks that take Kubernetes objects and answer sentences about what is wrong."""
