"""The models, one file each, and their registry. They know nothing of data, training or drawing."""
