"""What people say of answers, kept with what the server itself knows of those answers."""
