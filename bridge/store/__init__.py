"""The cluster as the place where everything is kept: client, documents with compare-and-set, indices, a fake."""
