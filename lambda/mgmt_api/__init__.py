"""The service: handler -> routes -> service -> ports <- adapters."""
