"""What a user would take instead of this program, each as a process of its own, on the same work."""
