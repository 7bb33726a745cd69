"""What is checked before any work, and one job wherever a launcher runs it."""
