"""What compiled programs say of accelerators that are not here: rows of a table, one file for each kind of question."""
