"""Items in the bins of a distribution centre: counted, and compared with the record."""

CLASSES = (1, 2, 3, 4, 5)  # the counts to tell apart where nothing else is said: those of Udacity's list
