"""The benchmark: mgmt beside what people use instead, on the same data, in one run (`make bench`)."""
