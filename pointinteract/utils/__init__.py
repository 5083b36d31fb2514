"""Small helpers shared by every level; nothing here knows about clouds."""
