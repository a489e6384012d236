"""Pictures, masks and the field's text files, as they lie on a disk."""
