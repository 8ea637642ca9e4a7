"""Event collector: events over HTTP or from Kafka, validated row by row, journalled, and landed as JSON lines."""
