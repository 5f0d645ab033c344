"""Tools that prove what peerflow promises: a history kept outside Redis, and one checker for all levels of tests."""
