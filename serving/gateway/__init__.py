"""What people use: photos in, voids and counts out, through an API, a web page and a queue."""
