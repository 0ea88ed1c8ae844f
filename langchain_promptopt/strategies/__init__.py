"""The options of every axis A1..A14 (algorithms 5.2), one file per axis; they meet in a Recipe."""
