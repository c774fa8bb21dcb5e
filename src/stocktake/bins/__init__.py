"""Items in the bins of a distribution centre: counted, and compared with the record."""
