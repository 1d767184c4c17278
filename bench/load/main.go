// Command load reads packages like many clients and drops them. Reading costs less than sending: it uses plain sockets,
// one large buffer for each client, and an HTTP library only for https. It reads the URLs from standard input, one in each
// line, requests them in turn, and prints the results as one line of JSON. With -planned each line begins with the number
// of a client.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

type options struct {
	urls     []string
	plan     [][]string
	clients  int
	requests int
	duration time.Duration
	cutOff   time.Duration
	rate     float64
	sha256   string
	token    string
	ca       string
	http2    bool
	link     float64
	hostLink float64
	retries  bool
}

type report struct {
	Seconds     float64   `json:"seconds"`
	Bytes       int64     `json:"bytes"`
	CPUSeconds  float64   `json:"clientCpuSeconds"`
	Requests    int       `json:"requests"`
	CutOff      int       `json:"cutOff"`
	Failures    int       `json:"failures"`
	Failure     string    `json:"failure,omitempty"`
	MedianMs    float64   `json:"firstByteMedianMs"`
	FirstByteMs []float64 `json:"firstByteMs"`
	Retried     int       `json:"retried"`
	// The time since the start of the run.
	FinishedMeanMs float64 `json:"finishedMeanMs"`
}

// The highest number of times that are printed. The median includes all times.
const maxPrinted = 1000

func main() {
	load := parse()
	work := newQueue(load)
	seen := make([]tally, load.clients)
	var clients sync.WaitGroup
	began := time.Now()
	shared := newLinks(load)
	for i := range seen {
		clients.Add(1)
		go func(index int, result *tally) {
			defer clients.Done()
			one := newClient(load, began, shared)
			if load.plan != nil {
				one.runPlan(load.plan[index], result)
			} else {
				one.run(work, result)
			}
		}(i, &seen[i])
	}
	clients.Wait()
	json.NewEncoder(os.Stdout).Encode(sum(seen, time.Since(began)))
}

func parse() options {
	var load options
	flag.IntVar(&load.clients, "clients", 1, "number of clients, each with one connection")
	flag.IntVar(&load.requests, "requests", 0, "number of requests of all clients together; 0: until -duration")
	flag.DurationVar(&load.duration, "duration", 0, "no request begins after this time")
	flag.DurationVar(&load.cutOff, "cut-off", 0, "after this time all requests are cut off; this does not count as a failure")
	flag.Float64Var(&load.rate, "rate", 0, "highest bytes per second of each client; 0: no limit")
	flag.StringVar(&load.sha256, "sha256", "", "expected SHA-256 of each body, in hexadecimal")
	flag.StringVar(&load.token, "token", "", "bearer token of each https request")
	flag.StringVar(&load.ca, "ca", "", "PEM file with the CA of https servers")
	flag.BoolVar(&load.http2, "http2", false, "use HTTP/2 instead of HTTP/1.1 for https")
	flag.Float64Var(&load.link, "link", 0, "highest bytes per second of all clients together; 0: no limit")
	flag.Float64Var(&load.hostLink, "host-link", 0, "highest bytes per second of all clients together from one host; 0: no limit")
	planned := flag.Bool("planned", false, "each line has the number of a client and a URL; a client requests its URLs in this order")
	flag.BoolVar(&load.retries, "retries", false, "repeat a request one second after a 503")
	flag.Parse()
	for scanner := bufio.NewScanner(os.Stdin); scanner.Scan(); {
		if line := strings.TrimSpace(scanner.Text()); line != "" {
			load.urls = append(load.urls, line)
		}
	}
	if *planned {
		if err := load.assign(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		return load
	}
	if len(load.urls) == 0 || (load.requests == 0 && load.duration == 0 && load.cutOff == 0) {
		fmt.Fprintln(os.Stderr, "missing: URLs on standard input, or one of -requests, -duration and -cut-off")
		os.Exit(2)
	}
	return load
}

// assign makes the plans of the clients from lines such as "7 https://…".
func (load *options) assign() error {
	load.plan = make([][]string, load.clients)
	for _, line := range load.urls {
		number, address, _ := strings.Cut(line, " ")
		index, err := strconv.Atoi(number)
		if err != nil || index < 0 || index >= load.clients {
			return fmt.Errorf("no client %q", number)
		}
		load.plan[index] = append(load.plan[index], address)
	}
	return nil
}

// cpuSeconds returns the processor time of this process. A client that takes a whole processor limits the peer.
func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

func sum(seen []tally, took time.Duration) report {
	total := report{Seconds: took.Seconds(), CPUSeconds: cpuSeconds()}
	finished := 0.0
	for _, one := range seen {
		finished += one.finishedMs
		total.Retried += one.retried
		total.Bytes += one.bytes
		total.Requests += one.requests
		total.CutOff += one.cutOff
		total.Failures += one.failures
		if one.failure != nil {
			total.Failure = one.failure.Error()
		}
		total.FirstByteMs = append(total.FirstByteMs, one.firstByteMs...)
	}
	if total.Requests > 0 {
		total.FinishedMeanMs = finished / float64(total.Requests)
	}
	if all := total.FirstByteMs; len(all) > 0 {
		sort.Float64s(all)
		total.MedianMs = (all[(len(all)-1)/2] + all[len(all)/2]) / 2
		total.FirstByteMs = all[:min(len(all), maxPrinted)]
	}
	return total
}
