module registry-packages-proxy/tools/parse-query

go 1.24
