"""What runs on Kubernetes, and how it is asked for there."""
