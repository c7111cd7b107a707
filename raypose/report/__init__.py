"""What people are shown of a plan, of a run while it goes on, and of its end."""
