"""Tasks: documents that clients poll, claims by which workers share them out, leases that outlive no holder."""
