// parse-query parses query strings with net/url of Go. It reads a JSON array of query strings and prints a JSON array of results.
package main

import (
	"encoding/json"
	"log"
	"net/url"
	"os"
)

type reading struct {
	Values url.Values `json:"values"`
	Error  string     `json:"error,omitempty"`
}

func main() {
	var queries []string
	if err := json.NewDecoder(os.Stdin).Decode(&queries); err != nil {
		log.Fatal(err)
	}
	readings := make([]reading, len(queries))
	for i, query := range queries {
		values, err := url.ParseQuery(query)
		readings[i].Values = values
		if err != nil {
			readings[i].Error = err.Error()
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(readings); err != nil {
		log.Fatal(err)
	}
}
