"""The service's routes as the client calls them, and the checks of every answer."""
