"""The service: handler -> routes -> use cases -> ports <- adapters."""
