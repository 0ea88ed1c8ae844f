"""Two worlds that differ in kind from the planted one; frozen before any preset ran on them (see README.md here)."""
