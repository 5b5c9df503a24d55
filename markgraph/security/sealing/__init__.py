"""What is kept on disk, sealed: AES-256-GCM with a key for each tenant, which a master key wraps."""
