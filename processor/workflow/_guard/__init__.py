"""All that is patched in the process, so that code of users answers the same at each replay."""
