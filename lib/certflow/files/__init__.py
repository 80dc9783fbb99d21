"""Files that can be trusted: checksummed artefacts with their provenance, atomic writes, locks, journals of attempts."""
