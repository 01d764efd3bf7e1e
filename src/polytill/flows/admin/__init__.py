"""Administration: catalog, provider configurations, practices, staff, keys, clusters and migration."""
