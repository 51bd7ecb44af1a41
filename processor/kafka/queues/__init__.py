"""Activity queues: tasks in, reports out."""
