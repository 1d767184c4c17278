module copyproxy

go 1.21
