"""Text that people write and read: plain, bounded, and Jinja templates."""
