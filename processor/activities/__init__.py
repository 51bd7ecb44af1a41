"""Running activities: in slots, on the loop or in threads, with time-outs and heartbeats."""
