"""What shows how well a table fits the animal: temporal norm and PCA errors."""
