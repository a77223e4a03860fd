"""The storage engine of the embedded backend: SeaweedFS, its certificates, and the expiry of abandoned uploads."""
