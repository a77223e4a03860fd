"""The service's infrastructure, a construct per capability."""
