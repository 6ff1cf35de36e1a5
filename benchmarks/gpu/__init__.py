"""What is only worth measuring on an accelerator: attention, the head and whole steps of models of published sizes."""
