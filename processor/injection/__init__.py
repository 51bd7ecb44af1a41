"""What users put into clients and workers: what values go through, and what is put around calls."""
