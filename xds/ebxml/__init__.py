"""ebRIM/ebRS elements to the metadata model and back."""
