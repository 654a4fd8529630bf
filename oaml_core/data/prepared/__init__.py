"""Read and write the files of a prepared data set."""
